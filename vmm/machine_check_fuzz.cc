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
  // Sizes are the objects' own: the first bytes say which.
  const auto sizeAt = [&](size_t word, unsigned shift) {
    uint64_t value = 0;
    if (size >= (word + 1) * sizeof value) memcpy(&value, data + word * sizeof value, sizeof value);
    return value % 64 << shift;
  };
  GivenMemory memory;
  memory.ram = MemoryFacts{sizeAt(0, 27), 0, true};
  if (size % 2 == 0) memory.base = MemoryFacts{sizeAt(1, 12), std::nullopt, false};
  if (size % 3 == 0) memory.mailbox = MemoryFacts{sizeAt(2, 12), 0, true};
  try {
    capnp::FlatArrayMessageReader reader(words);
    const CheckedMachine checked = checkMachine(reader.getRoot<ktstr::rpc::PreparedMachine>(), memory);
    assert(checked.vcpus >= 1 && checked.vcpus <= kMaxVcpus && checked.apicIds.size() == checked.vcpus);
    assert(checked.boot.rip < checked.ram[0].size);
    qemuArguments(checked);
  } catch (const ktstr::Error& e) {
    assert(e.name() == "machine-invalid");
  } catch (const kj::Exception&) {
  }
  return 0;
}
