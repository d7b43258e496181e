// For tests: the three users of privilege separation, and a place where they can be played.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "protocol/fd.h"

namespace ktstr::vmm {

// Nobody has these numbers in /etc/passwd; the primary group has the number of the user.
constexpr uid_t kOrchestrator = 61001, kMonitor = 61002, kVmm = 61003, kStranger = 61004;
constexpr gid_t kKvmGroup = 61000;  // of /dev/kvm on the stage

// Takes the calling process, once, to a mount namespace of its own: an empty /run, copies of the programs in
// /run/bin where every user may execute them, and a /dev/kvm of mode 0660 with group kKvmGroup, as udev's
// rules make it. Returns why that is impossible here, or "".
std::string enterStage();

// Runs `body` in a process of that user, without supplementary groups but `groups`; returns what it returned,
// or the text of its Error.
std::string as(uid_t user, const std::function<std::string()>& body, std::vector<gid_t> groups = {});

// A connection made by that user, handed to us. Throws as connectUnix().
Fd connectAs(uid_t user, const std::string& path);

// "EPERM" if `result` says that a call failed (-1), else "done".
std::string outcome(long result);

}  // namespace ktstr::vmm
