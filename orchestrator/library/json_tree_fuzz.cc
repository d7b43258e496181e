// Values and paths of any bytes: refused with an Error, or walked to something that describes itself.
#include <cstdint>
#include <string_view>

#include "orchestrator/library/snapshot_field.h"
#include "protocol/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  const std::string_view all(reinterpret_cast<const char*>(data), length);
  const size_t split = all.find('\n');
  const std::string_view path = all.substr(0, split);
  const std::string_view json = split == std::string_view::npos ? "" : all.substr(split + 1);
  try {
    const auto root = ktstr::SnapshotField::parse("value", json);
    const auto leaf = root.get(path);
    (void)leaf.tree().describe();
    (void)leaf.asF64();
    (void)leaf.asU64();
  } catch (const ktstr::Error&) {
  }
  return 0;
}
