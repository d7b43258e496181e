// For tests: types made with libbpf.
#pragma once

#include <bpf/btf.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include "monitor/btf_types.h"

namespace ktstr::test {

class MadeTypes {
 public:
  MadeTypes() : btf_(btf__new_empty()) {}
  ~MadeTypes() { btf__free(btf_); }
  MadeTypes(const MadeTypes&) = delete;
  MadeTypes& operator=(const MadeTypes&) = delete;

  operator btf*() const { return btf_; }
  // Throws what libbpf refused.
  static uint32_t must(int id) {
    if (id < 0) throw std::runtime_error("libbpf refuses: " + std::to_string(id));
    return static_cast<uint32_t>(id);
  }
  std::vector<std::byte> bytes() const {
    uint32_t size = 0;
    const auto* const raw = static_cast<const std::byte*>(btf__raw_data(btf_, &size));
    return {raw, raw + size};
  }
  BtfTypes types() const { return BtfTypes(bytes()); }

 private:
  btf* btf_;
};

}  // namespace ktstr::test
