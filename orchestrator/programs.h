// The programs of a run: what they are on the host, and where in the guest.
#pragma once

#include <string>
#include <vector>

#include "cache/kernel.h"
#include "guest/image/initramfs.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {

struct SchedulerProgram {
  std::string name;       // "eevdf" or the binary's base name
  std::string hostPath;   // empty for EEVDF
  std::string guestPath;  // /ktstr/bin/<name>
};

struct Programs {
  SchedulerProgram underTest;
  std::vector<SchedulerProgram> named;  // Scenario.schedulers, in their order
  std::vector<ImageFile> payloads;      // each binary once
  std::vector<ImageFile> custom;        // of custom functions, likewise
};

// Whether a name of --scheduler stands for one that is loaded: "" and "eevdf" do not.
bool isLoaded(const std::string& scheduler);

// Schedulers: a path; or a name: looked up in PATH, then among the kernel tree's schedulers, which
// `ktstr-kbuild` builds if need be. Payloads and programs of custom work: a path, or a name looked up in
// PATH. Throws Error "scheduler-not-found", "payload-not-found", "custom-program-missing", and
// "sched-ext-unsupported" if the kernel cannot load a scheduler.
Programs resolvePrograms(const std::string& underTest, rpc::Scenario::Reader scenario,
                         const cache::Entry& kernel);

// What goes into the image, each file once. Throws Error "image-path-invalid" for two programs of one name.
std::vector<ImageFile> imageFiles(const Programs& programs);

}  // namespace ktstr
