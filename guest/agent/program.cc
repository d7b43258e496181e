#include "guest/agent/program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>

#include "protocol/text.h"

namespace ktstr::agent {
namespace {

constexpr int executeBoundMs = 10'000;

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& each : strings) result.push_back(each.data());
  result.push_back(nullptr);
  return result;
}

// What the child needs, made before the fork.
struct Image {
  std::string path, cgroupFile;
  std::vector<std::string> arguments, environment;
};

Image imageOf(const Program& program) {
  Image image{program.path,
              program.cgroup.empty() ? "" : program.cgroup + "/cgroup.procs",
              {program.path},
              {"PATH=/bin:/ktstr/bin", "HOME=/tmp"}};
  image.arguments.insert(image.arguments.end(), program.arguments.begin(), program.arguments.end());
  image.environment.insert(image.environment.end(), program.environment.begin(), program.environment.end());
  return image;
}

bool enterCgroup(const std::string& file) {
  if (file.empty()) return true;
  const int procs = open(file.c_str(), O_WRONLY | O_CLOEXEC);
  return procs >= 0 && write(procs, "0", 1) == 1;
}

// In the child. Returns errno of what failed.
int execute(const Image& image, char* const* arguments, char* const* environment, int output) {
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int number = 1; number < NSIG; number++) ::signal(number, SIG_DFL);
  const rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
  setrlimit(RLIMIT_MEMLOCK, &unlimited);  // BPF maps; kernels before 5.11 count them here
  const int input = open("/dev/null", O_RDONLY);
  if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) return errno;
  if (!enterCgroup(image.cgroupFile)) return errno;
  execve(image.path.c_str(), arguments, environment);
  return errno;
}

std::string whyNotExecutable(const std::string& path, int number) {
  std::string message = withErrno("execute " + path, number);
  if (number == ENOENT && access(path.c_str(), F_OK) == 0) {
    message += "; the file is there, so the interpreter it names is not";
  }
  if (number == ENOEXEC) message += "; not a program for this architecture";
  return message;
}

}  // namespace

StartedProgram startProgram(const Program& program, FailureName name) {
  Image image = imageOf(program);
  const std::vector<char*> arguments = pointers(image.arguments);
  const std::vector<char*> environment = pointers(image.environment);
  int output[2], trouble[2];
  if (pipe2(output, O_CLOEXEC | O_NONBLOCK) != 0 || pipe2(trouble, O_CLOEXEC) != 0) {
    throw Failure(FailureName::INTERNAL, withErrno("make the pipes of " + program.path, errno));
  }
  StartedProgram started{-1, Fd(output[0])};
  Fd outputEnd(output[1]), troubleEnd(trouble[0]), childTrouble(trouble[1]);
  fcntl(outputEnd.get(), F_SETFL, O_WRONLY);  // a program expects its output to block
  started.pid = fork();
  if (started.pid == 0) {
    const int number = execute(image, arguments.data(), environment.data(), outputEnd.get());
    const ssize_t told = write(childTrouble.get(), &number, sizeof number);
    _exit(told == sizeof number ? 127 : 126);
  }
  childTrouble.reset();
  if (started.pid < 0) throw Failure(name, withErrno("fork for " + program.path, errno));
  pollfd ready = {troubleEnd.get(), POLLIN, 0};
  if (poll(&ready, 1, executeBoundMs) == 0) {
    kill(started.pid, SIGKILL);
    throw Failure(name, text(program.path, " (pid ", started.pid, ") got no CPU to execute within ",
                             executeBoundMs, " ms"));
  }
  int number = 0;
  if (read(troubleEnd.get(), &number, sizeof number) == sizeof number) {
    throw Failure(name, whyNotExecutable(program.path, number));
  }
  return started;
}

}  // namespace ktstr::agent
