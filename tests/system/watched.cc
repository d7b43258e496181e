#include "tests/system/watched.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "monitor/bpf_objects.h"
#include "tests/system/bpftool_expectations.h"

namespace ktstr::testing {
namespace {

// The scheduler, bpftool if there is one, and the kernel's configuration likewise: scx_central's loader wants
// CONFIG_HZ.
std::map<std::string, std::string> programsFor(const std::string& kernel, const std::string& scheduler,
                                               const std::map<std::string, std::string>& others) {
  std::map<std::string, std::string> programs = others;
  if (!scheduler.empty()) programs["sched"] = schedulerPath(scheduler);
  if (const auto bpftool = findBpftool()) programs["bpftool"] = *bpftool;
  const Result config = ktstr({"kernel", "path", kernel, "config"});
  if (config.exitCode == 0) programs["config"] = config.out.substr(0, config.out.find('\n'));
  return programs;
}

// The directory, when a VMM listens there.
std::string standing(const std::string& directory) {
  for (int i = 0; i < 600 && !std::filesystem::exists(directory + "/gate.sock"); ++i) usleep(100'000);
  return directory;
}

}  // namespace

std::string schedulerPath(const std::string& name) {
  const std::string path = ktstr({"scheduler", "path", name}).out;
  return path.substr(0, path.find('\n'));
}

Watched::Watched(const std::string& kernel, const std::string& scheduler, const std::string& arguments,
                 const std::map<std::string, std::string>& others)
    : vmm({"serve", "--accel", "tcg", "--dir", directory.path()}),
      guest({.kernel = kernel,
             .programs = programsFor(kernel, scheduler, others),
             .sockets = standing(directory.path())}) {
  guest.run("mkdir /boot; ln -s /bin/config /boot/config-$(uname -r)");
  if (!scheduler.empty()) start(process, arguments);
  Attacher attacher(guest.ram(), {}, {});
  attachment = attacher.attempt();
  if (!attachment) throw std::runtime_error(attacher.reason());
}

void Watched::start(const std::string& name, const std::string& arguments) {
  process = name;
  guest.run(name + " " + arguments + " > /tmp/out 2>&1 & true");
  const std::string state = guest.run(
      "for i in $(seq 100); do grep -q enabled /sys/kernel/sched_ext/state && break; usleep 100000;"
      " done; cat /sys/kernel/sched_ext/state");
  if (state != "enabled\n") throw NotAttached("not attached: " + guest.run("cat /tmp/out"));
}

std::map<uint32_t, Counters> descriptors(Watched& watched, const std::string& id, const std::string& kind) {
  std::istringstream in(watched.guest.run("for f in /proc/$(pidof " + watched.process +
                                          ")/fdinfo/*; do cat $f; echo end: 0; done"));
  std::map<uint32_t, Counters> all;
  Counters one;
  std::string name, value;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    words >> name >> value;
    if (name == "end:") {
      if (one.contains(id) && one.contains(kind)) all[static_cast<uint32_t>(one[id])] = one;
      one.clear();
    } else {
      one[name] = strtoull(value.c_str(), nullptr, 0);
    }
  }
  return all;
}

void expectSchedulerGone(Watched& watched) {
  EXPECT_EQ(watched.guest.run("for i in $(seq 100); do pidof " + watched.process +
                              " > /dev/null || break; usleep 100000; done; cat /sys/kernel/sched_ext/state"),
            "disabled\n");
  const BpfObjects objects(*watched.attachment->kernel, watched.attachment->analysis->layout());
  for (int i = 0; i < 100 && !objects.maps().found.empty(); ++i) watched.guest.run("usleep 100000");
  EXPECT_TRUE(objects.maps().found.empty()) << "freed with their last user";
  EXPECT_TRUE(objects.programs().found.empty());
}

}  // namespace ktstr::testing
