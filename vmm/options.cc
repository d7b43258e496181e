#include "vmm/options.h"

#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr::vmm {
namespace {

// A connected Unix stream socket that we inherited.
Fd inheritedSocket(int number) {
  int type = 0;
  socklen_t size = sizeof type;
  if (number < 3 || getsockopt(number, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
    throw Error(ExitCode::usage, "usage", text("descriptor ", number, " is not a stream socket from 3 on"));
  }
  setCloseOnExec(number, true);
  return Fd(number);
}

}  // namespace

ServeOptions parseServeOptions(const char* program, const char* about, int argc, char** argv) {
  ServeOptions options;
  CLI::App app(about, program);
  app.footer(
      "It runs one machine and ends with its (first) control connection.\n"
      "EXAMPLE: ktstr serve --dir /run/ktstr --observe-uid ktstr-monitor");
  CLI::App* way = app.add_option_group("way", "one of these");
  way->require_option(1);
  const auto socket = [](CLI::App* group, const char* name, std::optional<Fd>& target, const char* help) {
    group->add_option_function<int>(
        name, [&target](int fd) { target = inheritedSocket(fd); }, help);
  };
  socket(way, "--control-fd", options.control, "serve a socket it inherits");
  way->add_flag("--activated", options.activated,
                "on the sockets of a service manager or `ktstr serve`, sd_listen_fds(3)");
  way->add_flag("--print-seccomp", options.printSeccomp, "print the filters, by role, and end");
  socket(&app, "--observe-fd", options.observe, "with --control-fd: serves an observer, too");
  socket(&app, "--gate-fd", options.gate, "with --control-fd: serves a writer to published ranges, too");
  const auto users = [&app](const char* name, std::vector<uid_t>& target, const char* help) {
    app.add_option(name, target, help)->allow_extra_args(false)->check(CLI::TypeValidator<uid_t>("UINT"));
  };
  users("--control-uid", options.controlUids, "a user, by number, who may connect to control.sock");
  users("--observe-uid", options.observeUids, "... to observe.sock");
  users("--gate-uid", options.gateUids, "... to gate.sock");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    exit(app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::usage));
  }
  return options;
}

}  // namespace ktstr::vmm
