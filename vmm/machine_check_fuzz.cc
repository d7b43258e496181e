// Any message is either refused by name or describes a machine whose numbers fit together.
#include <capnp/serialize.h>
#include <kj/array.h>

#include <cassert>
#include <cstring>

#include "protocol/error.h"
#include "vmm/machine_check.h"
#include "vmm/tcg/qemu_command.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ktstr::vmm;
  auto words = kj::heapArray<capnp::word>(size / sizeof(capnp::word));
  memcpy(words.begin(), data, words.size() * sizeof(capnp::word));
  const std::vector<size_t> memoryOfRegion{0, 0, 1, 2};
  const std::vector<MemoryFacts> memories{
      {uint64_t{3} << 30, 0, true}, {1 << 20, std::nullopt, false}, {4 << 20, 0, true}};
  try {
    capnp::FlatArrayMessageReader reader(words);
    const auto machine = reader.getRoot<ktstr::rpc::PreparedMachine>();
    for (size_t regions = 1; regions <= memoryOfRegion.size(); ++regions) {
      try {
        const CheckedMachine checked = checkMachine(machine, {memoryOfRegion.data(), regions}, memories);
        assert(checked.vcpus >= 1 && checked.vcpus <= kMaxVcpus && checked.apicIds.size() == checked.vcpus);
        assert(checked.boot.rip < checked.regions[0].size);
        qemuArguments(checked);
      } catch (const ktstr::Error& e) {
        assert(e.name() == "machine-invalid");
      }
    }
  } catch (const kj::Exception&) {
  }
  return 0;
}
