// For tests: huge pages of 2 MiB.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include "protocol/file.h"

namespace ktstr {

// The kernel's pool of huge pages has room for `pages` more while this lives, if we may change it and the
// kernel finds memory for them: ask free().
class HugePagePool {
 public:
  explicit HugePagePool(uint64_t pages) : before_(number("nr_hugepages")) {
    if (const uint64_t now = free(); now < pages) set(before_ + pages - now);
  }
  ~HugePagePool() { set(before_); }
  HugePagePool(const HugePagePool&) = delete;
  HugePagePool& operator=(const HugePagePool&) = delete;

  uint64_t free() const { return number("free_hugepages"); }

 private:
  static std::string path(const std::string& name) {
    return "/sys/kernel/mm/hugepages/hugepages-2048kB/" + name;
  }
  static uint64_t number(const std::string& name) {
    return strtoull(readFileIfThere(path(name)).value_or("0").c_str(), nullptr, 10);
  }
  static void set(uint64_t pages) { std::ofstream(path("nr_hugepages")) << pages << std::flush; }

  const uint64_t before_;
};

}  // namespace ktstr
