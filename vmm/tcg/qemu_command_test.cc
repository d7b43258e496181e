#include "vmm/tcg/qemu_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "protocol/error.h"
#include "vmm/tcg/qemu_probe.h"
#include "vmm/tcg/qmp.h"

namespace ktstr::vmm {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

constexpr uint64_t kMiB = uint64_t{1} << 20;

CheckedMachine machineOf(uint32_t llcs, uint32_t cores, uint32_t threads, uint64_t baseBytes = 8192) {
  CheckedMachine machine{};
  machine.llcs = llcs;
  machine.coresPerLlc = cores;
  machine.threadsPerCore = threads;
  machine.vcpus = llcs * cores * threads;
  machine.ram = {{0, 512 * kMiB, 0}};
  machine.base = Region{512 * kMiB, baseBytes, 0};
  machine.mailbox = Region{512 * kMiB + baseBytes, 4 * kMiB, 0};
  for (uint32_t i = 0; i < machine.vcpus; ++i) machine.apicIds.push_back(qemuApicId(machine, i));
  return machine;
}

// The value that follows `option`, the first one that begins with `start`.
std::string valueOf(const std::vector<std::string>& arguments, const std::string& option,
                    const std::string& start = "") {
  for (size_t i = 0; i + 1 < arguments.size(); ++i) {
    if (arguments[i] == option && arguments[i + 1].starts_with(start)) return arguments[i + 1];
  }
  return "";
}

TEST(QemuCommand, MemoryIsThreeBackendsInARow) {
  const auto arguments = qemuArguments(machineOf(2, 2, 2));
  EXPECT_EQ(valueOf(arguments, "-object", "memory-backend-file,id=ram"),
            "memory-backend-file,id=ram,size=536870912,mem-path=/proc/self/fd/3,share=on");
  EXPECT_EQ(valueOf(arguments, "-object", "memory-backend-file,id=base"),
            "memory-backend-file,id=base,size=8192,mem-path=/proc/self/fd/4,share=off,readonly=on,rom=off");
  EXPECT_EQ(valueOf(arguments, "-object", "memory-backend-file,id=mailbox"),
            "memory-backend-file,id=mailbox,size=4194304,mem-path=/proc/self/fd/5,share=on");
  EXPECT_EQ(valueOf(arguments, "-m"), "size=528392k");
  EXPECT_EQ(valueOf(arguments, "-numa", "node,nodeid=0"), "node,nodeid=0,cpus=0-7,memdev=ram");
  EXPECT_EQ(valueOf(arguments, "-numa", "node,nodeid=1"), "node,nodeid=1,memdev=base");
  EXPECT_EQ(valueOf(arguments, "-numa", "node,nodeid=2"), "node,nodeid=2,memdev=mailbox");
  EXPECT_EQ(valueOf(arguments, "-numa", "node,nodeid=3"), "");
}

TEST(QemuCommand, OddPagesArePadded) {
  const auto arguments = qemuArguments(machineOf(1, 1, 1, 12288));
  EXPECT_EQ(valueOf(arguments, "-object", "memory-backend-ram"), "memory-backend-ram,id=pad,size=4096");
  EXPECT_EQ(valueOf(arguments, "-numa", "node,nodeid=3"), "node,nodeid=3,memdev=pad");
  EXPECT_EQ(valueOf(arguments, "-m"), "size=528400k");
}

TEST(QemuCommand, StartsPausedConfinedAndWithoutDefaults) {
  const auto arguments = qemuArguments(machineOf(1, 1, 1));
  for (const char* option : {"-S", "-nodefaults", "-no-user-config", "-no-reboot"}) {
    EXPECT_THAT(arguments, Contains(option));
  }
  EXPECT_EQ(valueOf(arguments, "-sandbox"),
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
  EXPECT_EQ(valueOf(arguments, "-display"), "none");
  EXPECT_EQ(valueOf(arguments, "-name"), "guest=ktstr,debug-threads=on");
  EXPECT_EQ(valueOf(arguments, "-serial"), "chardev:console");
  for (const char* option : {"-net", "-nic", "-netdev", "-device", "-drive", "-kernel"}) {
    EXPECT_THAT(arguments, Not(Contains(option)));
  }
}

TEST(QemuCommand, OneSocketPerLlcAndOneThreadAboveWhatTheHostBears) {
  const auto some = qemuArguments(machineOf(4, 2, 2));
  EXPECT_EQ(valueOf(some, "-smp"), "cpus=16,maxcpus=16,sockets=4,cores=2,threads=2");
  EXPECT_EQ(valueOf(some, "-accel"), "tcg,thread=multi");
  const auto many = qemuArguments(machineOf(17, 1, 1));
  EXPECT_EQ(valueOf(many, "-smp"), "cpus=17,maxcpus=17,sockets=17,cores=1,threads=1");
  EXPECT_EQ(valueOf(many, "-accel"), "tcg,thread=single");
  EXPECT_EQ(mostTcgThreads(2), 4u);
  EXPECT_EQ(mostTcgThreads(64), 16u);
  EXPECT_EQ(valueOf(qemuArguments(machineOf(2, 2, 1), 4), "-accel"), "tcg,thread=multi");
  EXPECT_EQ(valueOf(qemuArguments(machineOf(5, 1, 1), 4), "-accel"), "tcg,thread=single");
}

TEST(QemuCommand, ApicIdsAreBitFields) {
  const CheckedMachine odd = machineOf(3, 5, 2);
  EXPECT_EQ(odd.apicIds[9], 4u << 1 | 1);
  EXPECT_EQ(odd.apicIds[10], 1u << 4);
  EXPECT_EQ(odd.apicIds[29], 2u << 4 | 4u << 1 | 1);
  CheckedMachine wrong = odd;
  wrong.apicIds[10] = 10;
  try {
    qemuArguments(wrong);
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("machine-invalid: vcpus[10].apicId is 10, must be 16"));
  }
}

TEST(QemuProbe, VersionIsTakenFromTheFirstLine) {
  EXPECT_EQ(qemuVersion("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright"), "10.0.2");
  EXPECT_EQ(qemuVersion("QEMU emulator version 7.2"), "7.2");
  EXPECT_EQ(qemuVersion("QEMU emulator version "), "");
  EXPECT_EQ(qemuVersion("bash: no"), "");
  EXPECT_EQ(qemuVersion(""), "");
}

TEST(Qmp, LinesAreReducedToWhatMatters) {
  EXPECT_EQ(parseQmp(R"({"QMP": {"version": {"qemu": {"major": 10}}, "capabilities": ["oob"]}})").kind,
            QmpMessage::greeting);
  const auto shutdown = parseQmp(
      R"({"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}})");
  EXPECT_EQ(shutdown.kind, QmpMessage::event);
  EXPECT_EQ(shutdown.name, "SHUTDOWN");
  EXPECT_EQ(shutdown.reason, "guest-reset");
  EXPECT_TRUE(shutdown.guest);
  EXPECT_EQ(parseQmp(R"({"return": {"status": "prelaunch", "running": false}})").status, "prelaunch");
  EXPECT_EQ(parseQmp(R"({"return": {}})").kind, QmpMessage::success);
  const auto failure = parseQmp(R"({"error": {"class": "CommandNotFound", "desc": "no such"}})");
  EXPECT_EQ(failure.kind, QmpMessage::failure);
  EXPECT_EQ(failure.name, "CommandNotFound: no such");
  for (const char* bad : {"", "{", "[]", "1", "{\"return\": }", "{\"event\": 5", "\xff"}) {
    EXPECT_ANY_THROW(parseQmp(bad)) << bad;
  }
  EXPECT_EQ(parseQmp(R"({"event": 5, "data": []})").name, "");
}

}  // namespace
}  // namespace ktstr::vmm
