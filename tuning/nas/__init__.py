"""Architecture, plan and target searched together."""
