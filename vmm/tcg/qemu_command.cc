#include "vmm/tcg/qemu_command.h"

#include <bit>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr::vmm {
namespace {

class Arguments {
 public:
  template <typename... Parts>
  void add(const char* option, const Parts&... value) {
    list_.emplace_back(option);
    if constexpr (sizeof...(value) > 0) list_.push_back(text(value...));
  }
  std::vector<std::string> take() { return std::move(list_); }

 private:
  std::vector<std::string> list_;
};

void addFile(Arguments& out, const char* id, uint64_t size, int fd, const char* access) {
  out.add("-object", "memory-backend-file,id=", id, ",size=", size, ",mem-path=/proc/self/fd/", fd, ",",
          access);
}

// Memory backends in a row of NUMA nodes make up QEMU's linear RAM. The guest never sees these nodes: it gets
// our ACPI tables. QEMU rounds -m up to 8 KiB and wants the nodes to add up to it, hence the pad.
void addMemory(Arguments& out, const CheckedMachine& machine) {
  uint64_t total = machine.ramBytes();
  std::vector<std::string> nodes{text("node,nodeid=0,cpus=0-", machine.vcpus - 1, ",memdev=ram")};
  const auto addNode = [&](const char* id, uint64_t size) {
    nodes.push_back(text("node,nodeid=", nodes.size(), ",memdev=", id));
    total += size;
  };
  addFile(out, "ram", total, qemufd::ram, "share=on");
  if (const auto& base = machine.base) {
    addFile(out, "base", base->size, qemufd::base, "share=off,readonly=on,rom=off");
    addNode("base", base->size);
  }
  if (const auto& mailbox = machine.mailbox) {
    addFile(out, "mailbox", mailbox->size, qemufd::mailbox, "share=on");
    addNode("mailbox", mailbox->size);
  }
  if (total % (2 * kPage) != 0) {
    out.add("-object", "memory-backend-ram,id=pad,size=", kPage);
    addNode("pad", kPage);
  }
  out.add("-m", "size=", total / 1024, "k");
  for (const std::string& node : nodes) out.add("-numa", node);
}

void addChannels(Arguments& out) {
  out.add("-chardev", "socket,id=qmp,fd=", qemufd::qmp);
  out.add("-mon", "chardev=qmp,mode=control");
  out.add("-chardev", "socket,id=console,fd=", qemufd::console);
  out.add("-serial", "chardev:console");
  out.add("-chardev", "socket,id=doorbell,fd=", qemufd::doorbell);
  out.add("-serial", "chardev:doorbell");
}

}  // namespace

uint32_t qemuApicId(const CheckedMachine& machine, uint32_t index) {
  const uint32_t thread = index % machine.threadsPerCore;
  const uint32_t core = index / machine.threadsPerCore % machine.coresPerLlc;
  const uint32_t llc = index / machine.threadsPerCore / machine.coresPerLlc;
  const auto threadBits = static_cast<unsigned>(std::bit_width(machine.threadsPerCore - 1));
  const auto coreBits = static_cast<unsigned>(std::bit_width(machine.coresPerLlc - 1));
  return llc << (coreBits + threadBits) | core << threadBits | thread;
}

std::vector<std::string> qemuArguments(const CheckedMachine& machine, uint32_t mostThreads) {
  for (uint32_t i = 0; i < machine.vcpus; ++i) {
    if (machine.apicIds[i] == qemuApicId(machine, i)) continue;
    throw Error(ExitCode::infrastructure, "machine-invalid",
                text("vcpus[", i, "].apicId is ", machine.apicIds[i], ", must be ", qemuApicId(machine, i),
                     " under TCG, where QEMU derives it from the topology"));
  }
  Arguments out;
  out.add("-name", "guest=ktstr,debug-threads=on");
  out.add("-machine", "q35,max-ram-below-4g=2G,sata=off,smbus=off,usb=off,vmport=off,graphics=off");
  out.add("-accel", "tcg,thread=", machine.vcpus <= mostThreads ? "multi" : "single");
  out.add("-cpu", "max");
  out.add("-smp", "cpus=", machine.vcpus, ",maxcpus=", machine.vcpus, ",sockets=", machine.llcs,
          ",cores=", machine.coresPerLlc, ",threads=", machine.threadsPerCore);
  addMemory(out, machine);
  out.add("-bios", "/proc/self/fd/", qemufd::firmware);
  addChannels(out);
  out.add("-nodefaults");
  out.add("-no-user-config");
  out.add("-display", "none");
  out.add("-no-reboot");
  out.add("-S");
  out.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
  return out.take();
}

}  // namespace ktstr::vmm
