// Running apt-get and apt-cache in a private root. Only the fetcher process uses this (fetcher.h, also for
// errors).
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/debian.h"
#include "cache/fetcher.h"

namespace ktstr::cache {

class Apt {
 public:
  // Nothing is touched until the first call.
  explicit Apt(std::string root) : root_(std::move(root)) {}

  std::vector<DebianPackage> packages(bool fresh, const OnProgress& progress);
  std::vector<std::string> download(const std::vector<DebianPackage>& packages, const OnProgress& progress);

 private:
  using OnLine = std::function<void(const std::string&)>;
  struct Outcome {
    int status;
    std::string errors;  // first "E:" line, without it
    bool fetched;        // something came from the network
  };
  void prepare();
  Outcome run(const std::string& program, std::vector<std::string> arguments, const OnLine& onLine) const;
  Outcome runPrivate(const std::string& program, std::vector<std::string> arguments,
                     const OnLine& onLine) const;
  Outcome fetch(std::vector<std::string> arguments, const std::string& doing,
                const OnProgress& progress) const;
  void waitForOutput(int fd) const;
  void removePartials() const;
  void update(bool fresh, const OnProgress& progress);

  std::string root_;
  bool prepared_ = false;
};

// The packages in `apt-cache show` output that arrives line by line.
class ControlParser {
 public:
  void line(const std::string& text);
  std::vector<DebianPackage> finish();

 private:
  void endParagraph();
  DebianPackage current_;
  std::vector<DebianPackage> packages_;
};

// sources.list for all suites, from `apt-get indextargets` lines "URI COMPONENT CREATED_BY RELEASE ORIGIN".
// Empty if there is no Debian mirror among them. `keyring` may be empty: then apt's trusted keys count.
std::string sourcesList(const std::vector<std::string>& indexTargets, const std::string& keyring);

}  // namespace ktstr::cache
