// ktstr-vmm-tcg: the Vmm interface on a QEMU child. See usage() for how to start it.
#include <fcntl.h>
#include <kj/async-io.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <string_view>

#include "protocol/error.h"
#include "protocol/log.h"
#include "protocol/text.h"
#include "protocol/transport.h"
#include "vmm/machine_service.h"
#include "vmm/tcg_sandbox.h"
#include "vmm/tcg_vmm.h"
#include "vmm/vmm_service.h"
#include "vmm/warden.h"

namespace ktstr::vmm {
namespace {

constexpr const char* kUsage =
    "usage: ktstr-vmm-tcg --control-fd N [--observe-fd N]... [--gate-fd N]...   connected sockets it "
    "inherits\n"
    "       ktstr-vmm-tcg --dir DIR [--allow-uid UID]...   listens on control.sock, observe.sock, gate.sock "
    "there\n"
    "       ktstr-vmm-tcg --print-seccomp\n"
    "It runs one machine and ends with its (first) control connection. KTSTR_QEMU names another QEMU (>= "
    "10).\n";

struct Options {
  std::optional<Fd> control;
  std::vector<Fd> observe, gate;
  std::string directory;
  std::vector<uid_t> allowedUids;
  bool printSeccomp = false;
};

unsigned parseNumber(std::string_view option, std::string_view value) {
  unsigned number = 0;
  const auto end = std::from_chars(value.data(), value.data() + value.size(), number);
  if (end.ec != std::errc() || end.ptr != value.data() + value.size()) {
    throw Error(ExitCode::usage, "usage", text(option, " takes a number, got \"", value, "\""), "see --help");
  }
  return number;
}

// A connected Unix stream socket that we inherited.
Fd inheritedSocket(std::string_view option, std::string_view value) {
  Fd fd(static_cast<int>(parseNumber(option, value)));
  int type = 0;
  socklen_t size = sizeof type;
  if (fd.get() < 3 || getsockopt(fd.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
    const int number = fd.release();
    throw Error(ExitCode::usage, "usage", text(option, " ", number, " is not a stream socket from 3 on"));
  }
  setCloseOnExec(fd.get(), true);
  return fd;
}

Options parseOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--help") {
      std::cout << kUsage;
      exit(0);
    }
    if (option == "--print-seccomp") {
      options.printSeccomp = true;
      continue;
    }
    if (i + 1 == argc)
      throw Error(ExitCode::usage, "usage", text("unknown or incomplete option ", option), "see --help");
    const std::string_view value = argv[++i];
    if (option == "--control-fd")
      options.control = inheritedSocket(option, value);
    else if (option == "--observe-fd")
      options.observe.push_back(inheritedSocket(option, value));
    else if (option == "--gate-fd")
      options.gate.push_back(inheritedSocket(option, value));
    else if (option == "--dir")
      options.directory = value;
    else if (option == "--allow-uid")
      options.allowedUids.push_back(parseNumber(option, value));
    else
      throw Error(ExitCode::usage, "usage", text("unknown option ", option), "see --help");
  }
  if (!options.printSeccomp && options.control.has_value() != options.directory.empty()) {
    throw Error(ExitCode::usage, "usage", "exactly one of --control-fd and --dir is needed", "see --help");
  }
  return options;
}

struct Listener {
  ListenOptions options;
  Fd socket;
};

struct Listeners {
  Fd directory;  // locked
  Listener control, observe, gate;
  std::vector<std::string> files;

  std::vector<int> sockets() const {
    return files.empty() ? std::vector<int>{}
                         : std::vector<int>{control.socket.get(), observe.socket.get(), gate.socket.get()};
  }
};

// Makes the directory ours for as long as this process or its warden lives: the warden, which is there before
// the sockets are, may then remove them whoever dies when.
Listeners claimDirectory(const Options& options) {
  Listeners listeners;
  if (options.directory.empty()) return listeners;
  if (mkdir(options.directory.c_str(), 0755) != 0 && errno != EEXIST) {
    throw errnoError("listen-failed", "make directory " + options.directory);
  }
  listeners.directory = openFile(options.directory, O_RDONLY | O_DIRECTORY);
  if (flock(listeners.directory.get(), LOCK_EX | LOCK_NB) != 0) {
    throw errnoError("address-in-use", "another VMM serves in " + options.directory,
                     "name another directory");
  }
  for (const char* name : {"control.sock", "observe.sock", "gate.sock"}) {
    listeners.files.push_back(options.directory + "/" + name);
  }
  return listeners;
}

void listenIn(const Options& options, Listeners& listeners) {
  if (options.directory.empty()) return;
  const auto add = [&](Listener& listener, const char* name, unsigned mode, unsigned connections) {
    listener.options = {options.directory + "/" + name, mode, options.allowedUids, connections};
    listener.socket = listenUnix(listener.options);
  };
  add(listeners.control, "control.sock", 0600, 1);
  add(listeners.observe, "observe.sock", 0660, 16);
  add(listeners.gate, "gate.sock", 0600, 4);
}

std::variant<QemuProgram, Error> tryFindQemu() {
  try {
    return findQemu();
  } catch (const Error& e) {
    log::error(e.what());
    return e;
  }
}

// Serves until the control connection is gone, then ends the machine.
void serveConnections(kj::AsyncIoContext& io, TcgVmm& vmm, Options options, Listeners listeners) {
  constexpr ConnectionLimits limits;
  auto gone = kj::newPromiseAndFulfiller<void>();
  std::vector<std::unique_ptr<Connection>> connections;
  std::vector<kj::Promise<void>> accepting;
  const auto connect = [&](Fd socket, capnp::Capability::Client bootstrap) -> Connection& {
    return *connections.emplace_back(
        std::make_unique<Connection>(*io.lowLevelProvider, std::move(socket), kj::mv(bootstrap), limits));
  };
  const auto accept = [&](Listener& listener, std::function<capnp::Capability::Client()> bootstrap,
                          std::function<void()> onGone = {}) {
    if (!listener.socket) return;
    accepting.push_back(
        serve(io, std::move(listener.socket), listener.options, limits, std::move(bootstrap),
              std::move(onGone))
            .eagerlyEvaluate([](kj::Exception&& e) { log::error(e.getDescription().cStr()); }));
  };
  accept(
      listeners.control, [&vmm] { return vmmServer(vmm); }, [&gone] { gone.fulfiller->fulfill(); });
  accept(listeners.observe, [&vmm] { return observerServer(vmm); });
  accept(listeners.gate, [&vmm] { return publishedGateServer(vmm); });
  for (Fd& socket : options.observe) connect(std::move(socket), observerServer(vmm));
  for (Fd& socket : options.gate) connect(std::move(socket), publishedGateServer(vmm));
  if (options.control) {
    connect(std::move(*options.control), vmmServer(vmm)).onDisconnect().wait(io.waitScope);
  } else {
    gone.promise.wait(io.waitScope);
  }
  vmm.engine().stop();
  vmm.engine().ended().wait(io.waitScope);
}

int run(int argc, char** argv) {
  Options options = parseOptions(argc, argv);
  if (options.printSeccomp) {
    for (const std::string& line : tcgSandbox(-1, {-1}).describe()) std::cout << line << '\n';
    return 0;
  }
  signal(SIGPIPE, SIG_IGN);
  // On the terminal's ^C the orchestrator decides; its connection tells us.
  if (options.control) signal(SIGINT, SIG_IGN);
  auto qemu = tryFindQemu();
  Listeners listeners = claimDirectory(options);
  const auto* program = std::get_if<QemuProgram>(&qemu);
  Fd warden = startWarden(program != nullptr ? program->path : "", listeners.files);
  listenIn(options, listeners);
  EngineChannels channels = makeEngineChannels();
  const int firmware = channels.firmware.get();
  auto io = kj::setupAsyncIo();
  TcgVmm vmm(io, std::move(qemu), std::move(warden), std::move(channels));
  tcgSandbox(firmware, listeners.sockets()).lockDown();
  serveConnections(io, vmm, std::move(options), std::move(listeners));
  return 0;
}

}  // namespace
}  // namespace ktstr::vmm

int main(int argc, char** argv) {
  ktstr::log::start("ktstr-vmm-tcg");
  try {
    return ktstr::vmm::run(argc, argv);
  } catch (const ktstr::Error& e) {
    ktstr::log::error(e.what());
    return static_cast<int>(e.code());
  } catch (const kj::Exception& e) {
    ktstr::log::error(e.getDescription().cStr());
    return static_cast<int>(ktstr::ExitCode::infrastructure);
  }
}
