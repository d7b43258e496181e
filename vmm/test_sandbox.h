// For tests that try to break a sandbox: a child process in it, and what became of it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace ktstr::vmm {

struct Outcome {
  std::string status;  // describeWaitStatus()
  std::string log;     // what the process wrote to standard output and error
};

// Runs `lockDown` and then `attempt` in a child process, which then ends with exit code 0.
Outcome inSandbox(const std::function<void()>& lockDown, const std::function<void()>& attempt);

}  // namespace ktstr::vmm

// The statement ends a process in that sandbox by SIGSYS, and the log names the call.
#define KTSTR_EXPECT_FORBIDDEN(lockDown, name, ...)                                                  \
  do {                                                                                               \
    const ::ktstr::vmm::Outcome outcome = ::ktstr::vmm::inSandbox((lockDown), [&] { __VA_ARGS__; }); \
    EXPECT_EQ(outcome.status, "killed by SIGSYS") << #lockDown << " " name;                          \
    EXPECT_THAT(outcome.log, ::testing::HasSubstr("forbidden syscall " name "("));                   \
  } while (false)
