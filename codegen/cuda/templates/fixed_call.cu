// The function ESPALIER_NAME: a call of ESPALIER_CALLED with the numbers ESPALIER_FIXED before its tensors. Where
// ESPALIER_HAS_SCRATCH, the output is passed on before the last tensor of scratch space, and comes last here.
#include <cstdint>

#include <tvm/ffi/c_api.h>

#define ESPALIER_JOINED_(name) __tvm_ffi_##name
#define ESPALIER_JOINED(name) ESPALIER_JOINED_(name)

extern "C" int32_t ESPALIER_JOINED(ESPALIER_CALLED)(void*, const TVMFFIAny*, int32_t, TVMFFIAny*);

namespace {

constexpr int MOST_TENSORS = 16;

TVMFFIAny integer(int64_t value) {
  TVMFFIAny one{};
  one.type_index = kTVMFFIInt;
  one.v_int64 = value;
  return one;
}
TVMFFIAny number(double value) {
  TVMFFIAny one{};
  one.type_index = kTVMFFIFloat;
  one.v_float64 = value;
  return one;
}

}  // namespace

extern "C" int32_t ESPALIER_JOINED(ESPALIER_NAME)(void* self, const TVMFFIAny* tensors, int32_t count, TVMFFIAny* result) {
  TVMFFIAny all[] = {ESPALIER_FIXED};
  constexpr int FIXED = sizeof all / sizeof *all;
  if (count > MOST_TENSORS) {
    TVMFFIErrorSetRaisedFromCStr("TypeError", "a trial has at most 16 tensors");
    return -1;
  }
  TVMFFIAny given[FIXED + MOST_TENSORS];
  for (int i = 0; i < FIXED; ++i) given[i] = all[i];
  for (int i = 0; i < count; ++i) given[FIXED + i] = tensors[i];
  if (ESPALIER_HAS_SCRATCH && count > 1) {
    given[FIXED + count - 2] = tensors[count - 1];
    given[FIXED + count - 1] = tensors[count - 2];
  }
  return ESPALIER_JOINED(ESPALIER_CALLED)(self, given, FIXED + count, result);
}
