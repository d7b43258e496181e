#include "vmm/test_sandbox.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "protocol/fd.h"
#include "protocol/file.h"
#include "protocol/process.h"

namespace ktstr::vmm {

Outcome inSandbox(const std::function<void()>& lockDown, const std::function<void()>& attempt) {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(writer.get(), 1);
    dup2(writer.get(), 2);
    lockDown();
    attempt();
    syscall(SYS_exit, 0);  // not exit_group: a thread's sandbox need not know it
  }
  writer.reset();
  Outcome outcome;
  outcome.log = readAll(reader.get());
  int status = 0;
  waitpid(pid, &status, 0);
  outcome.status = describeWaitStatus(status);
  return outcome;
}

}  // namespace ktstr::vmm
