#include "vmm/serve.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <charconv>
#include <functional>
#include <iostream>
#include <memory>
#include <string_view>

#include "protocol/error.h"
#include "protocol/log.h"
#include "protocol/text.h"
#include "vmm/machine_service.h"
#include "vmm/vmm_service.h"

namespace ktstr::vmm {
namespace {

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

}  // namespace

ServeOptions parseServeOptions(int argc, char** argv, const char* usage) {
  ServeOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--help") {
      std::cout << usage;
      exit(0);
    }
    if (option == "--print-seccomp" || option == "--probe") {
      (option == "--probe" ? options.probe : options.printSeccomp) = true;
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
  if (!options.printSeccomp && !options.probe && options.control.has_value() != options.directory.empty()) {
    throw Error(ExitCode::usage, "usage", "exactly one of --control-fd and --dir is needed", "see --help");
  }
  return options;
}

std::vector<int> Listeners::sockets() const {
  if (files.empty()) return {};
  return {control.socket.get(), observe.socket.get(), gate.socket.get()};
}

Listeners claimDirectory(const ServeOptions& options) {
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

void listenIn(const ServeOptions& options, Listeners& listeners) {
  if (options.directory.empty()) return;
  const auto add = [&](Listener& listener, const char* name, unsigned mode, unsigned connections) {
    listener.options = {options.directory + "/" + name, mode, options.allowedUids, connections};
    listener.socket = listenUnix(listener.options);
  };
  add(listeners.control, "control.sock", 0600, 1);
  add(listeners.observe, "observe.sock", 0660, 16);
  add(listeners.gate, "gate.sock", 0600, 4);
}

void serveConnections(kj::AsyncIoContext& io, VmmState& vmm, ServeOptions options, Listeners listeners) {
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

}  // namespace ktstr::vmm
