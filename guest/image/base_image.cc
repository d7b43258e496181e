#include "guest/image/base_image.h"

#include <charconv>

#include "guest/image/image_plan.h"
#include "protocol/error.h"
#include "protocol/file.h"

namespace ktstr {

namespace {

constexpr const char* kind = "base";
constexpr const char* fileName = "base";
constexpr const char* lengthName = "length";

// Nothing if the entry is not one of ours, which then is to be made anew.
std::optional<CachedBase> fromEntry(const cache::Entry& entry, bool built) {
  const std::string length = entry.attribute(lengthName).value_or("");
  CachedBase base{entry.open(fileName), 0, entry.key(), built};
  const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), base.length);
  if (error != std::errc() || base.length == 0 || base.length > fileSize(base.file.get()))
    return std::nullopt;
  return base;
}

void fill(cache::Draft& draft, const ImagePlan& plan) {
  const ImageBase base = buildImageBase(plan);
  draft.write(fileName, readAll(base.file.get()));
  draft.attribute(lengthName, std::to_string(base.length));
}

}  // namespace

CachedBase baseImage(const cache::Store& store, const ImageRequest& request) {
  const ImagePlan plan = planImage(request);
  const std::string statKey = plan.statKey();
  const auto ignoreCorrupt = [](const Error&) {};  // quarantined by the store, made anew below
  if (const std::optional<std::string> key = store.alias(kind, statKey)) {
    const std::optional<cache::Entry> entry = store.find(kind, *key, ignoreCorrupt);
    if (std::optional<CachedBase> base = entry ? fromEntry(*entry, false) : std::nullopt)
      return std::move(*base);
  }
  const std::string key = plan.contentKey();
  bool built = false;
  const cache::Entry entry = store.findOrMake(
      kind, key,
      [&](cache::Draft& draft) {
        built = true;
        fill(draft, plan);
      },
      ignoreCorrupt);
  std::optional<CachedBase> base = fromEntry(entry, built);
  if (!base) {
    throw Error(ExitCode::infrastructure, "cache-entry-corrupt", "base " + key + " has no valid length",
                "remove it from the cache");
  }
  store.setAlias(kind, statKey, key);
  return std::move(*base);
}

}  // namespace ktstr
