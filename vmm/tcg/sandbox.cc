#include "vmm/tcg/sandbox.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

namespace ktstr::vmm {

Sandbox tcgSandbox(int firmware, const std::vector<int>& listeners) {
  Sandbox sandbox("ktstr-vmm-tcg");
  sandbox.allowBasics()
      .allowHeap()
      .allowEventLoop()
      .allow("mmap", {{2, PROT_READ | PROT_WRITE}, {3, MAP_SHARED}})  // guest RAM
      .allow("fcntl", {{1, F_ADD_SEALS}})
      .allow("fcntl", {{1, F_GET_SEALS}})
      .allow("pread64")  // the vCPUs' clocks
      .allow("pwrite64", {{0, static_cast<uint64_t>(firmware)}})
      .limit(RLIMIT_CORE, 0)
      .limit(RLIMIT_NOFILE, 256);
  for (const int listener : listeners) sandbox.allowAccept(listener);
  return sandbox;
}

}  // namespace ktstr::vmm
