#include "vmm/serve.h"

#include <fcntl.h>
#include <pwd.h>
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
#include <sstream>
#include <string_view>

#include "protocol/error.h"
#include "protocol/log.h"
#include "protocol/text.h"
#include "vmm/machine_service.h"
#include "vmm/vmm_service.h"

namespace ktstr::vmm {
namespace {

constexpr const char* kListenUsage =
    "  --control-uid USER, --observe-uid USER, --gate-uid USER   may connect there, besides the VMM's own "
    "user\n"
    "  --allow-uid USER                                          all three; USER is a number or a name\n";

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

// By /etc/passwd alone, where sysusers.d(5) puts its users: a VMM loads no name service modules.
std::optional<uid_t> uidOf(const std::string& name) {
  FILE* users = fopen("/etc/passwd", "re");
  if (users == nullptr) return std::nullopt;
  std::optional<uid_t> uid;
  while (const passwd* user = uid ? nullptr : fgetpwent(users)) {
    if (name == user->pw_name) uid = user->pw_uid;
  }
  fclose(users);
  return uid;
}

// Names are for unit files, which cannot know the numbers that sysusers.d(5) gave.
uid_t parseUser(std::string_view option, std::string_view value) {
  if (!value.empty() && value.find_first_not_of("0123456789") == std::string_view::npos) {
    return parseNumber(option, value);
  }
  if (const auto uid = uidOf(std::string(value))) return *uid;
  throw Error(ExitCode::usage, "user-unknown", text(option, ": there is no user \"", value, "\""),
              "make it (systemd-sysusers) or give a number");
}

// False if it is no option that names a user who may connect.
bool takeUser(ServeOptions& options, std::string_view option, std::string_view value) {
  bool taken = false;
  for (const auto& [name, uids] : {std::pair("--control-uid", &options.controlUids),
                                   {"--observe-uid", &options.observeUids},
                                   {"--gate-uid", &options.gateUids}}) {
    if (option != name && option != "--allow-uid") continue;
    uids->push_back(parseUser(option, value));
    taken = true;
  }
  return taken;
}

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
      if (listener->options.path == name && !listener->socket) found = listener;
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

ServeOptions parseServeOptions(int argc, char** argv, const char* usage) {
  ServeOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--help") {
      std::cout << usage << kListenUsage;
      exit(0);
    }
    bool* flag = option == "--print-seccomp" ? &options.printSeccomp
                 : option == "--probe"       ? &options.probe
                 : option == "--activated"   ? &options.activated
                                             : nullptr;
    if (flag != nullptr) {
      *flag = true;
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
    else if (!takeUser(options, option, value))
      throw Error(ExitCode::usage, "usage", text("unknown option ", option), "see --help");
  }
  const int ways = options.control.has_value() + !options.directory.empty() + options.activated;
  if (!options.printSeccomp && !options.probe && ways != 1) {
    throw Error(ExitCode::usage, "usage", "exactly one of --control-fd, --dir and --activated is needed",
                "see --help");
  }
  return options;
}

std::vector<int> Listeners::sockets() const {
  if (!control.socket) return {};
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
  if (options.directory.empty() && !options.activated) return;
  const auto path = [&](const std::string& name) {
    return options.activated ? name : options.directory + "/" + name + ".sock";
  };
  listeners.control.options = {path("control"), 0600, options.controlUids, 1};
  listeners.observe.options = {path("observe"), 0660, options.observeUids, 16};
  listeners.gate.options = {path("gate"), 0600, options.gateUids, 4};
  if (options.activated) return takeActivated(listeners);
  for (Listener* listener : {&listeners.control, &listeners.observe, &listeners.gate}) {
    listener->socket = listenUnix(listener->options);
  }
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
  const auto accept = [&](Listener& listener, std::function<capnp::Capability::Client(uid_t)> bootstrap,
                          std::function<void()> onGone = {}) {
    if (!listener.socket) return;
    accepting.push_back(
        serve(io, std::move(listener.socket), listener.options, limits, std::move(bootstrap),
              std::move(onGone))
            .eagerlyEvaluate([](kj::Exception&& e) { log::error(e.getDescription().cStr()); }));
  };
  accept(
      listeners.control, [&vmm](uid_t) { return vmmServer(vmm); }, [&gone] { gone.fulfiller->fulfill(); });
  accept(listeners.observe, [&vmm](uid_t) { return observerServer(vmm); });
  accept(listeners.gate, [&vmm](uid_t uid) { return publishedGateServer(vmm, text("uid ", uid)); });
  for (Fd& socket : options.observe) connect(std::move(socket), observerServer(vmm));
  for (Fd& socket : options.gate) connect(std::move(socket), publishedGateServer(vmm, "an inherited socket"));
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
