// What the agent throws: a named failure of report.capnp with its evidence.
#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include "protocol/report.capnp.h"

namespace ktstr::agent {

using FailureName = rpc::GuestFailureName;

struct Failure : std::exception {
  Failure(FailureName failureName, std::string why) : name(failureName), message(std::move(why)) {}
  const char* what() const noexcept override { return message.c_str(); }

  FailureName name;
  std::string message;  // with errno, path, pid, status
  uint32_t step = 0;
  std::string cgroup, worker;
};

// "<doing>: <strerror> (errno N)".
std::string withErrno(const std::string& doing, int number);

// The schema's name of a failure: "workerCrashed".
std::string failureText(FailureName name);

}  // namespace ktstr::agent
