#include "vmm/serve.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <sstream>

#include "protocol/error.h"
#include "protocol/log.h"
#include "protocol/text.h"
#include "vmm/service.h"

namespace ktstr::vmm {
namespace {

constexpr ConnectionLimits kLimits{.answersFirst = true};

std::string variable(const char* name) {
  const char* value = getenv(name);
  return value != nullptr ? value : "";
}

bool isListening(int fd) {
  const auto is = [fd](int option, int wanted) {
    int value = 0;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 && value == wanted;
  };
  return is(SO_DOMAIN, AF_UNIX) && is(SO_TYPE, SOCK_STREAM) && is(SO_ACCEPTCONN, 1);
}

Error activationInvalid(const std::string& message) {
  return {ExitCode::usage, "activation-invalid", message,
          "start all three sockets, with FileDescriptorName= control, observe and gate"};
}

// Descriptors from 3 on, named in the order of LISTEN_FDNAMES: sd_listen_fds_with_names(3).
void takeActivated(Listeners& listeners) {
  const std::string pid = variable("LISTEN_PID"), count = variable("LISTEN_FDS");
  if (pid != std::to_string(getpid()) || count != "3") {
    throw activationInvalid(
        text("LISTEN_PID is \"", pid, "\" and LISTEN_FDS \"", count, "\", must be ", getpid(), " and 3"));
  }
  std::istringstream names(variable("LISTEN_FDNAMES"));
  std::string name;
  for (int fd = 3; fd < 6; ++fd) {
    std::getline(names, name, ':');
    Listener* found = nullptr;
    for (Listener* listener : {&listeners.control, &listeners.observe, &listeners.gate}) {
      if (listener->options.name == name && !listener->socket) found = listener;
    }
    if (found == nullptr || !isListening(fd)) {
      throw activationInvalid(text("LISTEN_FDNAMES is \"", names.str(), "\" and descriptor ", fd,
                                   isListening(fd) ? " is a" : " is no", " listening Unix stream socket"));
    }
    found->socket = Fd(fd);
    setCloseOnExec(fd, true);
  }
}

}  // namespace

std::vector<int> Listeners::sockets() const {
  if (!control.socket) return {};
  return {control.socket.get(), observe.socket.get(), gate.socket.get()};
}

Listeners takeListeners(const ServeOptions& options) {
  Listeners listeners;
  listeners.control.options = {"control", options.controlUids, 1, kLimits};
  listeners.observe.options = {"observe", options.observeUids, 16, kLimits};
  listeners.gate.options = {"gate", options.gateUids, 4, kLimits};
  if (options.activated) takeActivated(listeners);
  return listeners;
}

void serveConnections(kj::AsyncIoContext& io, VmmState& vmm, ServeOptions options, Listeners listeners) {
  auto gone = kj::newPromiseAndFulfiller<void>();
  listeners.control.options.bootstrap = [&vmm](uid_t) { return vmmServer(vmm); };
  listeners.control.options.gone = [&gone] { gone.fulfiller->fulfill(); };
  listeners.observe.options.bootstrap = [&vmm](uid_t) { return observerServer(vmm); };
  listeners.gate.options.bootstrap = [&vmm](uid_t uid) {
    return publishedGateServer(vmm, text("uid ", uid));
  };
  std::vector<kj::Promise<void>> accepting;
  for (Listener* listener : {&listeners.control, &listeners.observe, &listeners.gate}) {
    if (!listener->socket) continue;
    accepting.push_back(
        serve(io, std::move(listener->socket), std::move(listener->options))
            .eagerlyEvaluate([](kj::Exception&& e) { log::error(e.getDescription().cStr()); }));
  }
  std::vector<std::unique_ptr<Connection>> connections;
  const auto connect = [&](Fd socket, capnp::Capability::Client bootstrap) -> Connection& {
    return *connections.emplace_back(
        std::make_unique<Connection>(*io.lowLevelProvider, std::move(socket), kj::mv(bootstrap), kLimits));
  };
  if (options.observe) connect(std::move(*options.observe), observerServer(vmm));
  if (options.gate) connect(std::move(*options.gate), publishedGateServer(vmm, "an inherited socket"));
  if (options.control) {
    connect(std::move(*options.control), vmmServer(vmm)).onDisconnect().wait(io.waitScope);
  } else {
    gone.promise.wait(io.waitScope);
  }
  vmm.engine().stop();
  vmm.engine().ended().wait(io.waitScope);
}

int vmmMain(const char* name, int argc, char** argv, int (*run)(int argc, char** argv)) {
  log::start(name);
  try {
    return run(argc, argv);
  } catch (const Error& e) {
    log::error(e.what());
    return static_cast<int>(e.code());
  } catch (const kj::Exception& e) {
    log::error(e.getDescription().cStr());
    return static_cast<int>(ExitCode::infrastructure);
  }
}

}  // namespace ktstr::vmm
