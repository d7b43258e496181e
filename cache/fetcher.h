// The part of `ktstr kernel get` that talks to the network: a process of its own that runs apt-get and
// apt-cache and parses nothing but their output. What it downloads is opened only by the process that started
// it, which can then be locked down without sockets and without execve.
//
// apt works in a private root (inside the store: apt/) with every Debian suite on the mirror that the system
// itself uses; the system's own lists and packages are neither read nor changed. Lists are renewed when older
// than 24 hours. Signatures and digests of what comes are checked by apt.
//
// Between the two: lines of text with tab-separated words over a socket pair.
//   -> packages | packages-fresh            <- progress PERCENT TEXT ... package NAME VERSION whole|split ...
//   end
//   -> download NAME VERSION ...            <- progress ... file PATH ... end
//   either may end in                       <- error NAME EXIT-CODE MESSAGE HINT
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/debian.h"
#include "protocol/fd.h"

namespace ktstr::cache {

// percent is from 0 to 100, or -1 where there is no telling.
using OnProgress = std::function<void(int percent, std::string_view what)>;

class Fetcher {
 public:
  // Forks. To be called before anything else has threads, open files that matter, or a sandbox. The child
  // dies with this process, and ends when this object goes.
  static Fetcher start(const std::string& aptRoot);
  Fetcher(Fetcher&&) = default;
  Fetcher& operator=(Fetcher&&) = default;

  // Kernel and kernel source packages in all suites. `fresh` renews the lists first, unless that was done in
  // the last minute. Throws Error "kernel-unavailable" (infrastructure) if there are no lists and none can be
  // got, "debian-mirror-missing" if the system's apt has no Debian mirror, "apt-missing", "disk-full".
  std::vector<DebianPackage> packages(bool fresh, const OnProgress& progress);

  // Paths of the packages in their order. The caller unlinks them. Throws Error "kernel-unavailable",
  // "disk-full".
  std::vector<std::string> download(const std::vector<DebianPackage>& packages, const OnProgress& progress);

 private:
  explicit Fetcher(Fd socket) : socket_(std::move(socket)) {}
  using OnLine = std::function<void(const std::vector<std::string>& words)>;
  void request(const std::string& line, const OnProgress& progress, const OnLine& onLine);
  std::string readLine();

  Fd socket_;
  std::string pending_;
};

}  // namespace ktstr::cache
