// What goes wrong in a call, as it is raised in Python.
#pragma once
#include <string>

namespace espalier {

struct Failure {
  const char* kind;  // of exception
  std::string message;
};

constexpr const char* NO_CODE = "this library has no code for this GPU; compile for its arch (espalier doctor)";

}  // namespace espalier
