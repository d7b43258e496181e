// What the monitor reads from a guest's memory is what the guest itself says.
#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "monitor/sampler.h"
#include "tests/system/guest_shell.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

using ::testing::HasSubstr;
using Counters = std::map<std::string, uint64_t>;

std::string schedulerPath(const std::string& name) {
  const std::string path = ktstr({"scheduler", "path", name}).out;
  return path.substr(0, path.find('\n'));
}

// A guest that runs a scheduler, and the monitor's hold of its kernel.
class Watched {
 public:
  Watched(const std::string& kernel, const std::string& scheduler, const std::string& arguments = "")
      : guest({.kernel = kernel, .programs = {{"sched", schedulerPath(scheduler)}}}) {
    guest.run("sched " + arguments + " > /tmp/out 2>&1 & true");
    const std::string state = guest.run(
        "for i in $(seq 100); do grep -q enabled /sys/kernel/sched_ext/state && break; usleep 100000;"
        " done; cat /sys/kernel/sched_ext/state");
    if (state != "enabled\n") throw std::runtime_error("not attached: " + guest.run("cat /tmp/out"));
    Attacher attacher(guest.ram(), {}, {});
    attachment = attacher.attempt();
    if (!attachment) throw std::runtime_error(attacher.reason());
  }
  GuestShell guest;
  std::optional<Attachment> attachment;
};

// All CPUs' counters, by name.
Counters readCounters(Sampler& sampler) {
  capnp::MallocMessageBuilder message;
  auto sample = message.initRoot<rpc::Sample>();
  sampler.sample(sample);
  Counters sums;
  for (const auto cpu : sample.asReader().getCpus()) {
    EXPECT_EQ(cpu.getScxEvents().size(), sampler.scxEventNames().size());
    for (unsigned i = 0; i < cpu.getScxEvents().size(); ++i)
      sums[sampler.scxEventNames()[i]] += cpu.getScxEvents()[i];
  }
  return sums;
}

Counters parseCounters(const std::string& lines) {
  std::istringstream in(lines);
  Counters counters;
  std::string name;
  for (uint64_t value; in >> name >> value;) counters[name] = value;
  return counters;
}

// The guest's own numbers lie between what was read before and after.
void expectEventsOfTheGuest(Watched& watched) {
  Sampler sampler(*watched.attachment);
  const Counters before = readCounters(sampler);
  watched.guest.run("timeout 1 sh -c 'while :; do :; done'");
  const Counters own = parseCounters(watched.guest.run("cat /sys/kernel/sched_ext/root/events"));
  const Counters after = readCounters(sampler);
  EXPECT_EQ(own.size(), after.size());
  EXPECT_EQ(before.size(), after.size());
  for (const auto& [name, value] : own) {
    ASSERT_TRUE(after.contains(name)) << name;
    EXPECT_LE(before.at(name), value) << name;
    EXPECT_LE(value, after.at(name)) << name;
  }
  EXPECT_NE(before, after) << "a task alone on its CPU gets slice after slice";
}

// One kernel of each layout.
class MonitorKernels : public ::testing::TestWithParam<const char*> {};

TEST_P(MonitorKernels, ReadsTheEventCountersOfTheGuest) {
  KTSTR_NEED_KERNEL(GetParam());
  KTSTR_NEED_SCHEDULER("scx_simple");
  Watched watched(GetParam(), "scx_simple");
  expectEventsOfTheGuest(watched);
}

INSTANTIATE_TEST_SUITE_P(Layouts, MonitorKernels,
                         ::testing::Values("debian:6.16", "debian:6.18", "debian:7.3"));

}  // namespace
}  // namespace ktstr::testing
