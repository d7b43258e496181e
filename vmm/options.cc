#include "vmm/options.h"

#include <pwd.h>
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
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

// A number, or a name for unit files, which cannot know the numbers that sysusers.d(5) gave. By /etc/passwd
// alone, where that puts its users: a VMM loads no name service modules.
uid_t userOf(const std::string& option, const std::string& user) {
  uid_t number = 0;
  const auto end = std::from_chars(user.data(), user.data() + user.size(), number);
  if (end.ec == std::errc() && end.ptr == user.data() + user.size()) return number;
  std::optional<uid_t> uid;
  if (FILE* users = fopen("/etc/passwd", "re")) {
    while (const passwd* entry = uid ? nullptr : fgetpwent(users)) {
      if (user == entry->pw_name) uid = entry->pw_uid;
    }
    fclose(users);
  }
  if (uid) return *uid;
  throw Error(ExitCode::usage, "user-unknown", text(option, ": there is no user \"", user, "\""),
              "make it (systemd-sysusers) or give a number");
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
  way->add_option_function<int>(
      "--control-fd", [&](int fd) { options.control = inheritedSocket(fd); }, "serve a socket it inherits");
  way->add_flag("--activated", options.activated,
                "on the sockets of a service manager or `ktstr serve`, sd_listen_fds(3)");
  way->add_flag("--print-seccomp", options.printSeccomp, "print the filters, by role, and end");
  const auto sockets = [&](const char* name, std::vector<Fd>& target, const char* help) {
    const auto take = [&target](const std::vector<int>& numbers) {
      for (const int number : numbers) target.push_back(inheritedSocket(number));
    };
    app.add_option_function<std::vector<int>>(name, take, help)->allow_extra_args(false);
  };
  sockets("--observe-fd", options.observe, "with --control-fd: serves observers, too");
  sockets("--gate-fd", options.gate, "with --control-fd: serves writers to published ranges, too");
  const auto users = [&](const std::string& name, std::vector<std::vector<uid_t>*> targets,
                         const char* help) {
    const auto take = [name, targets](const std::vector<std::string>& names) {
      for (const std::string& user : names) {
        for (auto* target : targets) target->push_back(userOf(name, user));
      }
    };
    app.add_option_function<std::vector<std::string>>(name, take, help)->allow_extra_args(false);
  };
  users("--control-uid", {&options.controlUids}, "a user (name or number) who may connect to control.sock");
  users("--observe-uid", {&options.observeUids}, "... to observe.sock");
  users("--gate-uid", {&options.gateUids}, "... to gate.sock");
  users("--allow-uid", {&options.controlUids, &options.observeUids, &options.gateUids}, "... to all three");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    exit(app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::usage));
  }
  return options;
}

}  // namespace ktstr::vmm
