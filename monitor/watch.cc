#include "monitor/watch.h"

#include <linux/bpf.h>

#include <algorithm>
#include <array>

#include "monitor/attach.h"
#include "monitor/bpf_values.h"
#include "monitor/guest_address.h"
#include "monitor/renderer.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {

// Where a value is, found anew at each look: pointers move, schedulers leave.
class WatchedPlace {
 public:
  virtual ~WatchedPlace() = default;
  // Throws where it is not there, or not any more.
  virtual Value read(const WatchedGuest& guest) = 0;
};

namespace {

[[noreturn]] void refuse(const char* name, const std::string& why, const std::string& hint = {}) {
  throw Error(ExitCode::usage, name, why, hint);
}

Error notThere(uint64_t address) {
  return Error(ExitCode::inconclusive, "not-in-memory", text(hex(address), " is not mapped to guest memory"));
}

// The part of a value that a path leads to, as if it were the whole.
struct Part {
  TypePlace place;
  uint64_t offset;
  uint32_t bytes;
};

Part partOf(const BtfTypes& types, uint32_t typeId, const std::string& path) {
  TypePlace place = resolvePath(types, typeId, path);
  const auto size =
      place.bits != 0 ? std::optional((place.bitOffset + place.bits + 7) / 8) : typeSize(types, place.typeId);
  if (!size || *size == 0 || *size > Watches::mostBytes) {
    refuse("watch-invalid", text(typeName(types, place.typeId), " has ", size.value_or(0), " bytes"),
           text("what is watched has 1 to ", Watches::mostBytes, ": give a path to a part of it"));
  }
  const uint64_t offset = std::exchange(place.offset, 0);
  return {place, offset, *size};
}

Value readPart(const WatchedGuest& guest, const BtfTypes& types, const Part& part, uint64_t base) {
  std::vector<std::byte> bytes(part.bytes);
  if (!guest.kernel.copy(base + part.offset, bytes)) throw notThere(base + part.offset);
  return Renderer(types, guest.kernel).render(part.place, bytes);
}

class SymbolPlace final : public WatchedPlace {
 public:
  SymbolPlace(std::string address, const WatchedGuest& guest) : address_(std::move(address)) {
    const uint64_t at = guestAddress(guest.kernel, address_);
    const auto& all = guest.symbols.arrays().addresses;
    const auto next = std::upper_bound(all.begin(), all.end(), at - guest.kernel.place().slide);
    const uint64_t room = next == all.end() ? 8 : *next - (at - guest.kernel.place().slide);
    while (bytes_ > room) bytes_ /= 2;
  }

  Value read(const WatchedGuest& guest) override {
    const uint64_t at = guestAddress(guest.kernel, address_);
    std::array<std::byte, 8> bytes{};
    if (!guest.kernel.copy(at, std::span(bytes).first(bytes_))) throw notThere(at);
    return Value::of(loadGuest<uint64_t>(bytes.data()));
  }

 private:
  std::string address_;
  uint64_t bytes_ = 8;
};

class TypedPlace final : public WatchedPlace {
 public:
  TypedPlace(const WatchExpression& parsed, std::shared_ptr<const BtfTypes> types)
      : address_(parsed.address),
        types_(std::move(types)),
        part_(partOf(*types_, findType(*types_, parsed.type), parsed.path)) {}

  Value read(const WatchedGuest& guest) override {
    return readPart(guest, *types_, part_, guestAddress(guest.kernel, address_));
  }

 private:
  std::string address_;
  std::shared_ptr<const BtfTypes> types_;
  Part part_;
};

class MapPlace final : public WatchedPlace {
 public:
  explicit MapPlace(const WatchExpression& parsed) : wanted_(parsed.map), path_(parsed.path) {}

  Value read(const WatchedGuest& guest) override {
    const BpfObjects objects(guest.kernel, guest.layout);
    if (!isThere(objects)) resolve(guest, findMap(objects.maps().found, wanted_));
    const auto element = arrayElement(guest.layout, map_, 0);
    if (!element || part_.offset + part_.bytes > map_.valueSize)
      refuse("path-invalid", text(path_, " is not inside the value of ", map_.name));
    return readPart(guest, *types_, part_, *element);
  }

 private:
  // Still the map that was found? The kernel gives no id again, and takes it from a map that it frees.
  bool isThere(const BpfObjects& objects) const {
    const auto now = types_ ? objects.map(map_.address) : std::nullopt;
    return now && now->id == map_.id && now->name == map_.name && now->type == map_.type;
  }

  void resolve(const WatchedGuest& guest, const BpfMap& map) {
    types_.reset();
    if (map.type != BPF_MAP_TYPE_ARRAY) {
      refuse("watch-invalid", text(map.name, " is of type ", mapTypeName(map.type)),
             "values of arrays can be watched, which .bss and .data are, too");
    }
    auto types = readProgramTypes(guest.kernel, guest.layout, map.btf);
    if (!types.types || map.valueType == 0)
      throw Error(ExitCode::inconclusive, "types-missing",
                  types.types ? text(map.name, " has a value without a type") : types.problem);
    part_ = partOf(*types.types, map.valueType, path_);
    types_ = std::move(types.types);
    map_ = map;
  }

  std::string wanted_, path_;
  BpfMap map_;                       // that was found; its values move with it
  std::unique_ptr<BtfTypes> types_;  // of its program; nothing: none was found
  Part part_{};
};

}  // namespace

Watches::Watches() = default;
Watches::~Watches() = default;

void Watches::add(const std::string& expression, const WatchedGuest& guest) {
  if (watches_.size() == most)
    throw Error(ExitCode::usage, "too-many-watches", text(most, " values are watched already"));
  Watch watch{expression, parseWatch(expression), nullptr, {}};
  if (!watch.parsed.map.empty()) {
    watch.place = std::make_unique<MapPlace>(watch.parsed);
  } else if (watch.parsed.type.empty()) {
    watch.place = std::make_unique<SymbolPlace>(watch.parsed.address, guest);
  } else {
    if (!kernelTypes_) kernelTypes_ = std::make_shared<const BtfTypes>(readKernelTypes(guest.kernel));
    watch.place = std::make_unique<TypedPlace>(watch.parsed, kernelTypes_);
  }
  const Value first = watch.place->read(guest);
  if (watch.parsed.comparison == WatchComparison::none) {
    watch.last = valueAsJson(first);
  } else {
    keepsComparison(valueAsText(first), watch.parsed.comparison, watch.parsed.operand);
  }
  watches_.push_back(std::move(watch));
}

std::optional<WatchChange> Watches::compare(Watch& watch, const Value& value) {
  std::string now = valueAsJson(value);
  WatchChange change{watch.expression, watch.last, now};
  watch.last = std::move(now);
  bool isHit = change.before != change.after;
  if (watch.parsed.comparison != WatchComparison::none) {
    const bool holds = keepsComparison(valueAsText(value), watch.parsed.comparison, watch.parsed.operand);
    isHit = holds && !std::exchange(watch.held, holds);
    watch.held = holds;
  }
  return isHit ? std::optional(std::move(change)) : std::nullopt;
}

std::vector<WatchChange> Watches::look(const WatchedGuest& guest) {
  std::vector<WatchChange> changes;
  for (Watch& watch : watches_) {
    try {
      if (auto change = compare(watch, watch.place->read(guest))) changes.push_back(std::move(*change));
    } catch (const Error&) {
      continue;  // it is not there now
    }
  }
  return changes;
}

}  // namespace ktstr
