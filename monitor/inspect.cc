#include "monitor/inspect.h"

#include <bpf/btf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <map>

#include "monitor/bpf_values.h"
#include "monitor/guest_address.h"
#include "monitor/scx_events.h"
#include "monitor/struct_ops.h"
#include "monitor/support.h"
#include "monitor/task_list.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t maxReadBytes = 1 << 20, maxShown = 200'000, maxTasks = 32'768;

template <typename T>
Value maybe(const std::optional<T>& value) {
  if (!value) return Value{Value::Kind::null};
  return Value{std::is_signed_v<T> ? Value::Kind::signedNumber : Value::Kind::unsignedNumber,
               {},
               static_cast<uint64_t>(*value)};
}

// How many values there are in one.
size_t countOf(const Value& value) {
  size_t count = 1;
  for (const auto& member : value.members) count += countOf(member.second);
  return count;
}

// Of up to eight bytes, little-endian.
uint64_t numberOf(std::span<const std::byte> bytes) {
  uint64_t number = 0;
  std::memcpy(&number, bytes.data(), std::min(bytes.size(), sizeof number));
  return number;
}

class Inspector {
 public:
  Inspector(const Attachment& attachment, const Inspection& what)
      : attachment_(attachment),
        kernel_(*attachment.kernel),
        layout_(attachment.analysis->layout()),
        what_(what) {}

  Findings run() {
    static const std::map<std::string, void (Inspector::*)()> commands = {
        {"maps", &Inspector::maps},     {"map", &Inspector::map},       {"progs", &Inspector::programs},
        {"tasks", &Inspector::tasks},   {"events", &Inspector::events}, {"symbol", &Inspector::symbol},
        {"type", &Inspector::describe}, {"read", &Inspector::read},     {"support", &Inspector::support}};
    (this->*commands.at(what_.command))();
    return std::move(findings_);
  }

 private:
  std::string argument(size_t index) const {
    return index < what_.arguments.size() ? what_.arguments[index] : "";
  }
  Value& record() { return findings_.records.emplace_back(Value::object()); }
  void note(const std::string& problem) {
    if (!problem.empty()) findings_.problems.push_back(problem);
  }

  void maps() {
    const auto walk = BpfObjects(kernel_, layout_).maps();
    note(walk.problem);
    for (const auto& map : walk.found) {
      record()
          .add("id", Value::of(uint64_t{map.id}))
          .add("name", Value::named(map.name))
          .add("type", Value::named(mapTypeName(map.type)))
          .add("keySize", Value::of(uint64_t{map.keySize}))
          .add("valueSize", Value::of(uint64_t{map.valueSize}))
          .add("maxEntries", Value::of(uint64_t{map.maxEntries}))
          .add("flags", Value::named(hex(map.flags)))
          .add("frozen", Value::of(map.frozen))
          .add("address", Value::named(hex(map.address)));
    }
  }

  void programs() {
    const auto walk = BpfObjects(kernel_, layout_).programs();
    note(walk.problem);
    const bool all = argument(0).empty();
    const auto chosen = all ? walk.found : matchPrograms(walk.found, argument(0));
    if (chosen.empty() && !all)
      throw Error(ExitCode::usage, "program-unknown", text("no BPF program is called ", argument(0)),
                  text("progs without a name lists the ", walk.found.size(), " that there are"));
    for (const auto& program : chosen) {
      record()
          .add("id", Value::of(uint64_t{program.id}))
          .add("name", Value::named(program.name))
          .add("type", Value::named(programTypeName(program.type)))
          .add("verifiedInstructions", maybe(program.verifiedInstructions))
          .add("runs", maybe(program.runs))
          .add("runNanos", maybe(program.runNanos))
          .add("misses", maybe(program.misses));
    }
  }

  struct Arena {
    uint64_t start = 0;
    std::vector<MapEntry> pages;
  };
  // Of a program that uses the map, if pointers are to be followed there.
  Arena arenaBeside(const BpfMap& map, const std::vector<BpfMap>& all) const {
    const auto address = what_.hops > 0 ? BpfObjects(kernel_, layout_).arenaBeside(map) : std::nullopt;
    for (const auto& other : all) {
      if (other.address == address && other.type == arenaMapType)
        return {arenaStart(kernel_, layout_, other).value_or(0),
                readMapEntries(kernel_, layout_, other, maxMapBytes / 4096).found};
    }
    return {};
  }

  void map() {
    const auto all = BpfObjects(kernel_, layout_).maps().found;
    const auto map = findMap(all, argument(0));
    const auto entries = readMapEntries(kernel_, layout_, map, what_.limit);
    const auto types = map.type == BPF_MAP_TYPE_STRUCT_OPS
                           ? readStructOpsTypes(KernelFields(kernel_, layout_), map)
                           : readProgramTypes(kernel_, layout_, map.btf);
    note(entries.problem);
    const auto ring = map.isRingBuffer() ? readRingBuffer(kernel_, layout_, map) : std::nullopt;
    const bool untyped = map.isRingBuffer() || map.type == arenaMapType;
    if (!untyped) note(types.problem);
    if (ring) record().add("consumer", Value::of(ring->consumer)).add("producer", Value::of(ring->producer));
    const auto [start, pages] = arenaBeside(map, all);
    const ArenaView arena(start, pages);
    TypePlace place{map.valueType, 0, 0, 0};
    if (types.types && map.valueType) place = resolvePath(*types.types, map.valueType, argument(1));
    size_t left = maxShown;
    for (const auto& entry : entries.found) {
      const auto shown = [&](const TypePlace& at, std::span<const std::byte> bytes) {
        if (!types.types || at.typeId == 0) return Value::ofBytes(bytes);
        const RenderLimits limits{.hops = what_.hops, .arenaHops = what_.hops};
        return Renderer(*types.types, kernel_, limits, &entry.functions, &arena).render(at, bytes);
      };
      const bool number = !map.keyType && (untyped || map.keySize == 4);
      const Value key = entry.owner ? *entry.owner
                        : number    ? Value::of(numberOf(entry.key))
                                    : shown({map.keyType, 0, 0, 0}, entry.key);
      for (const auto& value : entry.values) {
        if (left == 0) return note(text("more than ", maxShown, " values to show: give a path to fewer"));
        auto& out = record().add("key", key);
        if (value.cpu) out.add("cpu", Value::of(uint64_t{*value.cpu}));
        out.add("value", shown(place, value.bytes));
        left -= std::min(left, countOf(out));
      }
    }
  }

  void tasks() {
    const auto walk = listTasks(kernel_, layout_, std::min(what_.limit, maxTasks));
    note(walk.problem);
    for (const auto& task : walk.found) {
      record()
          .add("pid", maybe(std::optional(task.pid)))
          .add("tgid", maybe(std::optional(task.tgid)))
          .add("parent", maybe(task.parent))
          .add("comm", Value::named(task.comm))
          .add("state", Value::named(task.state))
          .add("cpu", maybe(task.cpu))
          .add("prio", maybe(task.priority))
          .add("class", Value::named(task.schedClass))
          .add("scxWeight", maybe(task.scxWeight))
          .add("scxSlice", maybe(task.scxSlice))
          .add("scxVtime", maybe(task.scxVtime))
          .add("address", Value::named(hex(task.address)));
    }
  }

  void events() {
    const ScxEvents events(attachment_);
    note(events.absent());
    const auto place = events.locate();
    if (!place) return note("no sched_ext scheduler is attached");
    std::vector<std::vector<uint64_t>> all;
    for (const uint32_t cpu : kernel_.possibleCpus()) all.push_back(events.read(*place, cpu));
    if (!events.holds(*place)) return note("the scheduler was replaced meanwhile");
    for (size_t i = 0; i < events.names().size(); ++i) {
      Value cpus = Value::list();
      uint64_t total = 0;
      for (const auto& own : all) {
        cpus.add({}, own.empty() ? Value{Value::Kind::null} : Value::of(own[i]));
        total += own.empty() ? 0 : own[i];
      }
      record().add("name", Value::named(events.names()[i])).add("total", Value::of(total)).add("cpus", cpus);
    }
  }

  void symbol() {
    const uint64_t address = guestAddress(kernel_, argument(0));
    record()
        .add("address", Value::named(hex(address)))
        .add("symbol", Value::named(kernel_.symbolAt(address).value_or("")));
  }

  void describe() {
    const BtfTypes types = readKernelTypes(kernel_);
    const auto place = resolvePath(types, findType(types, argument(0)), argument(1));
    const btf_type* const type = types.strip(place.typeId);
    if (!type || !btf_is_composite(type)) {
      const auto size = typeSize(types, place.typeId);
      record().add("type", Value::named(typeName(types, place.typeId))).add("size", maybe(size));
      return;
    }
    for (uint32_t i = 0; i < std::min<size_t>(btf_vlen(type), what_.limit); ++i) {
      const auto& member = btf_members(type)[i];
      const char* const name = btf__name_by_offset(types.raw(), member.name_off);
      const uint32_t bits = btf_member_bitfield_size(type, i), bitOffset = btf_member_bit_offset(type, i);
      record()
          .add("offset", Value::of(uint64_t{bitOffset / 8}))
          .add("size", maybe(typeSize(types, member.type)))
          .add("bits", bits ? Value::of(uint64_t{bits}) : Value{Value::Kind::null})
          .add("type", Value::named(typeName(types, member.type)))
          .add("name", Value::named(name ? name : ""));
    }
  }

  void support() {
    BtfTypes types = readKernelTypes(kernel_);
    for (const auto& support : supportOf(kernel_, types)) {
      record()
          .add("feature", Value::named(support.feature))
          .add("available", Value::of(support.available))
          .add("place", Value::named(support.place))
          .add("missing", Value::named(support.missing));
    }
  }

  void read() {
    const uint64_t address = guestAddress(kernel_, argument(0));
    const BtfTypes types = readKernelTypes(kernel_);
    const uint32_t type = findType(types, argument(1));
    const auto place = resolvePath(types, type, argument(2));
    const auto size = typeSize(types, type);
    if (!size || *size == 0 || *size > maxReadBytes)
      throw Error(ExitCode::usage, "type-unknown", text(argument(1), " has no size"),
                  "name a type with values");
    std::vector<std::byte> bytes(*size);
    if (!kernel_.copy(address, bytes))
      throw Error(ExitCode::inconclusive, "not-in-memory",
                  text(hex(address), " is not mapped to guest memory"),
                  "write SYMBOL@CPU for a CPU's copy of a per-CPU variable");
    record()
        .add("address", Value::named(hex(address)))
        .add("value", Renderer(types, kernel_, {.hops = what_.hops}).render(place, bytes));
  }

  const Attachment& attachment_;
  const GuestKernel& kernel_;
  const KernelLayout& layout_;
  const Inspection& what_;
  Findings findings_;
};

bool isFlat(const Value& record) {
  return std::none_of(record.members.begin(), record.members.end(), [](const auto& member) {
    return member.second.kind == Value::Kind::object || member.second.text.find('\n') != std::string::npos;
  });
}

std::string cell(const Value& value) {
  const std::string text = valueAsText(value);
  return text.empty() || value.kind == Value::Kind::null ? "-" : text;
}

}  // namespace

Findings inspect(const Attachment& attachment, const Inspection& what) {
  return Inspector(attachment, what).run();
}

std::string asJsonLines(const std::vector<Value>& records) {
  std::string out;
  for (const auto& record : records) out += valueAsJson(record) + '\n';
  return out;
}

std::string asTable(const std::vector<Value>& records) {
  std::string out;
  if (!std::all_of(records.begin(), records.end(), isFlat)) {
    for (const auto& record : records) out += valueAsText(record) + '\n';
    return out;
  }
  std::vector<std::vector<std::string>> rows;
  std::vector<size_t> widths;
  if (records.empty()) return out;
  for (const auto& member : records.front().members) rows.resize(1), rows[0].push_back(member.first);
  for (const auto& record : records) {
    auto& row = rows.emplace_back();
    for (size_t i = 0; i < record.members.size(); ++i) {
      row.push_back(cell(record.members[i].second));
      widths.resize(std::max(widths.size(), i + 1));
      widths[i] = std::max({widths[i], record.members[i].first.size(), row.back().size()});
    }
  }
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i)
      out += row[i] + (i + 1 < row.size() ? std::string(widths[i] + 2 - row[i].size(), ' ') : "\n");
  }
  return out;
}

}  // namespace ktstr
