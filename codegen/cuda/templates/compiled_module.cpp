// TVM's module of the kernels that it scheduled, with machine code in the place of their source.
//
// Where the machine that builds has no driver, TVM keeps the source, and the machine that loads the library would have to
// compile it. What is saved is read back by TVM's own runtime: the format's name, facts about the kernels, the code.
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

namespace {

using namespace tvm::ffi;

class CompiledModule : public ModuleObj {
 public:
  explicit CompiledModule(std::string content) : content_(std::move(content)) {}
  const char* kind() const final { return "cuda"; }
  int GetPropertyMask() const final { return Module::kBinarySerializable; }
  Optional<Function> GetFunction(const String&) final { return std::nullopt; }  // they run where it is loaded
  Bytes SaveToBytes() const final { return Bytes(content_); }

 private:
  std::string content_;
};

std::string sized(const std::string& text) {
  uint64_t size = text.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + text;
}

// The module as it is if it holds machine code already.
Module with_machine_code(const Module& module, const Bytes& image, const String& format) {
  std::string saved = module->SaveToBytes(), head = sized("cuda");
  if (saved.compare(0, head.size(), head) != 0) return module;
  std::string tail = sized(module->InspectSource("cuda"));
  if (saved.size() < head.size() + tail.size() || saved.compare(saved.size() - tail.size(), tail.size(), tail) != 0)
    TVM_FFI_THROW(RuntimeError) << "TVM saves its CUDA modules otherwise than this version of Espalier expects";
  std::string facts = saved.substr(head.size(), saved.size() - head.size() - tail.size());
  return Module(make_object<CompiledModule>(sized(format) + facts + sized(image)));
}

}  // namespace

TVM_FFI_DLL_EXPORT_TYPED_FUNC(with_machine_code, with_machine_code)
