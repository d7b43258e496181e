#include "orchestrator/serve_vmm.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <string>
#include <vector>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/socket.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr int firstNumber = 3;      // of the descriptors that the VMM gets
constexpr int outOfTheWay = 3 + 3;  // above them

struct Socket {
  const char* name;
  unsigned mode;
};
constexpr Socket sockets[] = {{"control", 0600}, {"observe", 0660}, {"gate", 0600}};

// A number, or the name of a user, which the VMM looks up nowhere.
std::string userNumber(const std::string& option, const std::string& user) {
  uid_t number = 0;
  const auto end = std::from_chars(user.data(), user.data() + user.size(), number);
  if (end.ec == std::errc() && end.ptr == user.data() + user.size()) return user;
  if (const passwd* entry = getpwnam(user.c_str())) return std::to_string(entry->pw_uid);
  throw Error(ExitCode::usage, "user-unknown", text(option, ": there is no user \"", user, "\""),
              "make it (systemd-sysusers) or give a number");
}

// The lock is the VMM's, by a descriptor that it knows nothing of.
void claim(const std::string& directory) {
  if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
    throw errnoError("listen-failed", "make directory " + directory);
  }
  const Fd opened = openFile(directory, O_RDONLY | O_DIRECTORY);
  const int inherited = fcntl(opened.get(), F_DUPFD, outOfTheWay);
  if (inherited < 0) throw errnoError("dup-failed", "duplicate the descriptor of " + directory);
  if (flock(inherited, LOCK_EX | LOCK_NB) == 0) return;
  if (errno != EWOULDBLOCK) throw errnoError("listen-failed", "lock " + directory);
  throw errnoError("address-in-use", "another VMM serves in " + directory, "name another directory");
}

void listenIn(const std::string& directory) {
  std::vector<Fd> listening;
  std::string names;
  for (const Socket& socket : sockets) {
    const Fd bound = listenUnix(text(directory, '/', socket.name, ".sock"), socket.mode);
    listening.emplace_back(fcntl(bound.get(), F_DUPFD_CLOEXEC, outOfTheWay));
    names += (names.empty() ? "" : ":") + std::string(socket.name);
  }
  for (size_t i = 0; i < listening.size(); i++) {
    if (!listening[i] || dup2(listening[i].get(), firstNumber + static_cast<int>(i)) < 0) {
      throw errnoError("dup-failed", text("duplicate the descriptor of socket ", i));
    }
  }
  setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
  setenv("LISTEN_FDS", std::to_string(listening.size()).c_str(), 1);
  setenv("LISTEN_FDNAMES", names.c_str(), 1);
}

}  // namespace

int serveVmm(int argc, char** argv) {
  std::string directory, accelerator = "kvm";
  bool activated = false;
  CLI::App app("Starts a VMM that stands by on sockets, for others to boot, observe and change a machine.",
               "ktstr serve");
  CLI::App* where = app.add_option_group("where", "one of these");
  where->require_option(1);
  where->add_option("--dir", directory, "where control.sock, observe.sock and gate.sock shall be");
  where->add_flag("--activated", activated, "on the sockets of a service manager, sd_listen_fds(3)");
  app.add_option("--accel", accelerator, "what runs the machine")
      ->check(CLI::IsMember({"kvm", "tcg"}))
      ->capture_default_str();
  std::vector<std::string> words = {"--activated"};
  const auto users = [&](const std::string& option, const char* help) {
    const auto take = [&words, option](const std::vector<std::string>& names) {
      for (const std::string& user : names) {
        words.push_back(option);
        words.push_back(userNumber(option, user));
      }
    };
    app.add_option_function<std::vector<std::string>>(option, take, help)->allow_extra_args(false);
  };
  users("--control-uid", "a user (name or number) who may connect to control.sock besides the VMM's own");
  users("--observe-uid", "... to observe.sock");
  users("--gate-uid", "... to gate.sock");
  app.footer("EXAMPLE: ktstr serve --dir /run/ktstr --observe-uid ktstr-monitor");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::usage);
  }
  const std::string program = accelerator == "kvm" ? "ktstr-vmm" : "ktstr-vmm-tcg", path = toolPath(program);
  words.insert(words.begin(), program);
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  if (!activated) {
    claim(directory);
    listenIn(directory);
  }
  execv(path.c_str(), pointers.data());
  throw errnoError("spawn-failed", "execute " + path);
}

}  // namespace ktstr
