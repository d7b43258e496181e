#include "monitor/vmcoreinfo.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ktstr::parseVmcoreinfo({reinterpret_cast<const char*>(data), size});
  return 0;
}
