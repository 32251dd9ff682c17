"""What passes need to know before they change anything."""
