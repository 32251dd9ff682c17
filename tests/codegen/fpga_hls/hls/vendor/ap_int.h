// The open ap_int.h, whatever its reader is compiled for: for synthesis it needs a vendor's compiler.
#pragma push_macro("__SYNTHESIS__")
#undef __SYNTHESIS__
#include_next "ap_int.h"
#pragma pop_macro("__SYNTHESIS__")
