// A bare Linux guest with a shell on its console, for tests that compare what the monitor reads with what the
// guest itself says at that moment.
#pragma once

#include <kj/async-io.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "monitor/ram_file.h"
#include "orchestrator/machine_link.h"

namespace ktstr::testing {

struct GuestShellRequest {
  std::string kernel;  // "debian:7.3"
  std::string topology = "1n1l2c1t";
  std::map<std::string, std::string> programs = {};  // name below /bin to host path; with their libraries
  int bootSeconds = 180;
  std::string sockets = {};  // directory of a VMM that stands by; empty: one of our own
};

class GuestShell {
 public:
  // Boots on ktstr-vmm-tcg, or on what stands by, and waits for the shell, in which /proc, /sys and cgroup2
  // (/cg) are mounted. Throws std::runtime_error with the console if it does not come up.
  explicit GuestShell(const GuestShellRequest& request);
  ~GuestShell();

  // Runs a command line (no more than 200 characters) and returns what it prints, lines ended by '\n'.
  std::string run(const std::string& command, int seconds = 60);

  // The guest's RAM, as a monitor gets it.
  const RamFile& ram() const { return *ram_; }
  Fd ramFd() const { return ramFd_.duplicate(); }
  rpc::Observer::Client observer() { return *observer_; }
  MachineLink& machine() { return *machine_; }
  kj::AsyncIoContext& io() { return io_; }
  const std::string& console() const { return all_; }

 private:
  bool readUntil(const std::string& mark, int seconds);

  kj::AsyncIoContext io_ = kj::setupAsyncIo();
  std::unique_ptr<MachineLink> machine_;
  std::unique_ptr<Connection> connection_;
  std::unique_ptr<rpc::Observer::Client> observer_;
  Fd base_, console_, ramFd_;
  std::unique_ptr<RamFile> ram_;
  std::string all_;
  size_t consumed_ = 0;  // of all_
  unsigned commands_ = 0;
};

}  // namespace ktstr::testing
