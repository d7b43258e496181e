#include "vmm/test_users.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <thread>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/socket.h"
#include "protocol/transport.h"

namespace ktstr::vmm {
namespace {

constexpr unsigned kKvmMajor = 10, kKvmMinor = 232;  // Documentation/admin-guide/devices.txt

void check(int result, const char* doing) {
  if (result != 0) throw errnoError("stage-failed", doing);
}

void makeStage() {
  const std::string programs[] = {toolPath("ktstr"), toolPath("ktstr-vmm"), toolPath("ktstr-vmm-tcg")};
  check(unshare(CLONE_NEWNS), "make a mount namespace");
  check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "make mounts private");
  std::filesystem::create_directory("/run");
  check(mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"), "mount /run");
  std::filesystem::create_directory("/run/bin");
  for (const std::string& program : programs) std::filesystem::copy(program, "/run/bin");
  check(mknod("/run/kvm", S_IFCHR | 0600, makedev(kKvmMajor, kKvmMinor)), "make a device node");
  check(chown("/run/kvm", 0, kKvmGroup), "give /run/kvm to a group");
  check(chmod("/run/kvm", 0660), "chmod /run/kvm");
  check(mount("/run/kvm", "/dev/kvm", nullptr, MS_BIND, nullptr), "mount on /dev/kvm");
  const Fd kvm = openFile("/dev/kvm", O_RDWR);
}

[[noreturn]] void play(uid_t user, const std::function<std::string()>& body, const std::vector<gid_t>& groups,
                       int answer) {
  std::string said;
  if (setgroups(groups.size(), groups.data()) != 0 || setresgid(user, user, user) != 0 ||
      setresuid(user, user, user) != 0) {
    said = std::string("cannot become the user: ") + strerror(errno);
  } else {
    // A thread, because an event loop belongs to one, and ours may have the parent's.
    std::thread([&] {
      try {
        said = body();
      } catch (const std::exception& e) {
        said = e.what();
      }
    }).join();
  }
  writeAll(answer, said);
  _exit(0);
}

}  // namespace

std::string enterStage() {
  if (geteuid() != 0) return "playing other users needs root";
  static const std::string why = [] {
    try {
      makeStage();
      return std::string();
    } catch (const std::exception& e) {
      return std::string(e.what());
    }
  }();
  return why;
}

std::string as(uid_t user, const std::function<std::string()>& body, std::vector<gid_t> groups) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw errnoError("pipe-failed", "make a pipe");
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  const pid_t pid = fork();
  if (pid < 0) throw errnoError("fork-failed", "fork");
  if (pid == 0) play(user, body, groups, writer.get());
  writer.reset();
  std::string said;
  char buffer[4096];
  for (ssize_t got; (got = read(reader.get(), buffer, sizeof buffer)) > 0;) {
    said.append(buffer, static_cast<size_t>(got));
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return status == 0 ? said : describeWaitStatus(status);
}

Fd connectAs(uid_t user, const std::string& path) {
  struct Acting {
    explicit Acting(uid_t user) {
      if (setgroups(0, nullptr) != 0 || setegid(user) != 0 || seteuid(user) != 0) abort();
    }
    ~Acting() {
      if (seteuid(0) != 0 || setegid(0) != 0) abort();
    }
  };
  const Acting acting(user);
  return connectUnix(path);
}

std::string outcome(long result) {
  return result == -1 ? strerrorname_np(errno) : "done";
}

}  // namespace ktstr::vmm
