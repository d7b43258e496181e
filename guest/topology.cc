#include "guest/topology.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <set>
#include <utility>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

constexpr const char* example =
    "write NnLlCcTt: NUMA nodes, LLCs in all, cores per LLC, threads per core, for example 1n2l2c2t for 8 "
    "vCPUs; or node by node LlMM,...,CcTt: LLCs and MiB of each, for example 2l512M,1l256M,0l256M,2c1t; "
    "distances may follow either, as ,0-1:32";

[[noreturn]] void invalid(const std::string& reason) {
  throw Error(ExitCode::usage, "topology-invalid", reason, example);
}

// Takes a number without sign or leading zeros off the front of `text`.
std::optional<uint32_t> takeNumber(std::string_view& text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto length = static_cast<size_t>(end - text.data());
  if (error != std::errc() || (length > 1 && text.front() == '0')) return std::nullopt;
  text.remove_prefix(length);
  return value;
}

// The numbers of `word` if it has the form of `pattern`, in which # stands for a number.
std::optional<std::vector<uint32_t>> takeWord(std::string_view word, std::string_view pattern) {
  std::vector<uint32_t> numbers;
  for (const char expected : pattern) {
    if (expected == '#') {
      const std::optional<uint32_t> number = takeNumber(word);
      if (!number) return std::nullopt;
      numbers.push_back(*number);
    } else {
      if (!word.starts_with(expected)) return std::nullopt;
      word.remove_prefix(1);
    }
  }
  if (!word.empty()) return std::nullopt;
  return numbers;
}

std::vector<std::string_view> splitAtCommas(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t comma; (comma = text.find(',')) != std::string_view::npos; text.remove_prefix(comma + 1)) {
    words.push_back(text.substr(0, comma));
  }
  words.push_back(text);
  return words;
}

unsigned bitsFor(uint32_t count) {
  return static_cast<unsigned>(std::bit_width(count - 1));
}

std::vector<uint32_t> sequence(uint32_t first, uint32_t count) {
  std::vector<uint32_t> numbers(count);
  for (uint32_t i = 0; i < count; i++) numbers[i] = first + i;
  return numbers;
}

void checkShapes(const Topology& topology, const std::string& name) {
  uint64_t memory = 0;
  for (uint32_t node = 0; node < topology.nodes; node++) {
    const uint32_t mib = topology.shapes[node].memoryMib;
    if (mib == 0) invalid(text(name, ": node ", node, " has no memory"));
    if (mib % 2 != 0) {
      invalid(text(name, ": node ", node, " has ", mib, " MiB; memory is placed in units of 2 MiB"));
    }
    if (node > 0 && topology.memoryOnly(node - 1) && !topology.memoryOnly(node)) {
      invalid(text(name, ": node ", node, " has CPUs but comes after node ", node - 1,
                   ", which has none; Linux numbers nodes with CPUs first"));
    }
    memory += mib;
  }
  if (memory > maxMemoryMib) invalid(text(name, ": ", memory, " MiB are more than ", maxMemoryMib));
}

void checkDistances(const Topology& topology, const std::string& name) {
  std::set<std::pair<uint32_t, uint32_t>> seen;
  for (const auto& [from, to, distance] : topology.distances) {
    const std::string pair = text(name, ": distance ", from, "-", to, ":", distance);
    if (to >= topology.nodes) invalid(text(pair, ": there is no node ", to));
    if (from >= to) invalid(pair + ": write the lower node first; a node's distance to itself is always 10");
    if (distance <= localDistance || distance > 254) invalid(pair + ": must be from 11 to 254");
    if (!seen.insert({from, to}).second) invalid(pair + ": this pair is given twice");
  }
}

}  // namespace

uint32_t Topology::nodeOfLlc(uint32_t llc) const {
  uint32_t node = 0;
  for (uint32_t end = llcsOfNode(0); end <= llc; end += llcsOfNode(node)) node++;
  return node;
}

std::vector<uint32_t> Topology::cpusOfLlc(uint32_t llc) const {
  return sequence(llc * cpusPerLlc(), cpusPerLlc());
}

std::vector<uint32_t> Topology::cpusOfNode(uint32_t node) const {
  uint32_t llc = 0;
  for (uint32_t before = 0; before < node; before++) llc += llcsOfNode(before);
  return sequence(llc * cpusPerLlc(), llcsOfNode(node) * cpusPerLlc());
}

uint32_t Topology::distance(uint32_t from, uint32_t to) const {
  if (from == to) return localDistance;
  for (const NodeDistance& pair : distances) {
    if (std::minmax(from, to) == std::minmax(pair.from, pair.to)) return pair.distance;
  }
  return remoteDistance;
}

uint32_t Topology::initiatorOf(uint32_t node) const {
  std::optional<uint32_t> nearest;
  for (uint32_t other = 0; other < nodes; other++) {
    if (memoryOnly(other)) continue;
    if (!nearest || distance(node, other) < distance(node, *nearest)) nearest = other;
  }
  return nearest.value();
}

std::optional<uint32_t> Topology::memoryMib() const {
  if (shapes.empty()) return std::nullopt;
  uint32_t sum = 0;
  for (const NodeShape& shape : shapes) sum += shape.memoryMib;
  return sum;
}

uint32_t Topology::apicId(uint32_t cpu) const {
  const unsigned threadBits = bitsFor(threadsPerCore);
  const unsigned coreBits = bitsFor(coresPerLlc);
  const uint32_t thread = cpu % threadsPerCore;
  const uint32_t core = cpu / threadsPerCore % coresPerLlc;
  return llcOf(cpu) << (coreBits + threadBits) | core << threadBits | thread;
}

std::string Topology::toString() const {
  std::string result;
  for (const NodeShape& shape : shapes) result += text(shape.llcs, "l", shape.memoryMib, "M,");
  if (shapes.empty()) result = text(nodes, "n", llcs, "l");
  result += text(coresPerLlc, "c", threadsPerCore, "t");
  for (const NodeDistance& pair : distances) {
    result += text(",", pair.from, "-", pair.to, ":", pair.distance);
  }
  return result;
}

Topology parseTopology(std::string_view text) {
  Topology topology;
  const std::vector<std::string_view> words = splitAtCommas(text);
  size_t at = 0;
  const auto fail = [&](const char* form) {
    const std::string_view word = at < words.size() ? words[at] : "";
    invalid(ktstr::text("\"", text, "\": \"", word, "\" is not of the form ", form));
  };
  if (const auto uniform = takeWord(words[0], "#n#l#c#t")) {
    topology = {uniform->at(0), uniform->at(1), uniform->at(2), uniform->at(3)};
    at++;
  } else {
    topology.nodes = topology.llcs = 0;
    for (; at < words.size(); at++) {
      const auto node = takeWord(words[at], "#l#M");
      if (!node) break;
      topology.shapes.push_back({node->at(0), node->at(1)});
      topology.nodes++;
      topology.llcs += std::min(node->at(0), maxVcpus + 1);  // as many are too many
    }
    const auto cores = at < words.size() ? takeWord(words[at], "#c#t") : std::nullopt;
    if (!cores || at == 0) fail(at == 0 ? "NnLlCcTt or LlMM" : "LlMM or, after the nodes, CcTt");
    topology.coresPerLlc = cores->at(0);
    topology.threadsPerCore = cores->at(1);
    at++;
  }
  for (; at < words.size(); at++) {
    const auto distance = takeWord(words[at], "#-#:#");
    if (!distance) fail("A-B:D, the distance of two nodes");
    topology.distances.push_back({distance->at(0), distance->at(1), distance->at(2)});
  }
  checkTopology(topology);
  return topology;
}

void checkTopology(const Topology& topology) {
  const std::string name = topology.toString();
  if (topology.nodes > maxNodes) invalid(text(name, ": more than ", maxNodes, " NUMA nodes"));
  if (!topology.shapes.empty()) checkShapes(topology, name);
  if (topology.nodes == 0 || topology.llcs == 0 || topology.coresPerLlc == 0 ||
      topology.threadsPerCore == 0) {
    invalid(name + (topology.shapes.empty() ? ": every number must be at least 1" : ": there are no CPUs"));
  }
  if (topology.shapes.empty() && topology.llcs % topology.nodes != 0) {
    invalid(text(name, ": ", topology.llcs, " LLCs cannot be dealt evenly to ", topology.nodes, " nodes"));
  }
  uint64_t vcpus = 1;
  for (const uint32_t count : {topology.llcs, topology.coresPerLlc, topology.threadsPerCore}) {
    vcpus *= std::min<uint64_t>(count, maxVcpus + 1);
  }
  if (vcpus > maxVcpus) invalid(text(name, ": more than ", maxVcpus, " vCPUs"));
  checkDistances(topology, name);
}

std::string cpuList(std::vector<uint32_t> cpus) {
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  std::string list;
  for (size_t i = 0; i < cpus.size();) {
    size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) last++;
    if (!list.empty()) list += ",";
    list += std::to_string(cpus[i]);
    if (last > i) list += "-" + std::to_string(cpus[last]);
    i = last + 1;
  }
  return list;
}

std::vector<uint32_t> parseCpuList(std::string_view text, uint32_t limit) {
  std::vector<uint32_t> cpus;
  std::string_view rest = text;
  if (rest.ends_with('\n')) rest.remove_suffix(1);
  const auto fail = [&](const std::string& reason) {
    throw Error(ExitCode::usage, "cpu-list-invalid", ktstr::text("\"", text, "\": ", reason),
                "write numbers and ranges, for example 0-3,8");
  };
  while (!rest.empty()) {
    const std::optional<uint32_t> first = takeNumber(rest);
    std::optional<uint32_t> last = first;
    if (first && rest.starts_with('-')) {
      rest.remove_prefix(1);
      last = takeNumber(rest);
    }
    if (!first || !last) fail("not a list of CPU numbers");
    if (*last < *first) fail(ktstr::text("range ", *first, "-", *last, " descends"));
    if (*last >= limit) fail(ktstr::text("CPU ", *last, " is not below ", limit));
    for (uint32_t cpu = *first; cpu <= *last; cpu++) cpus.push_back(cpu);
    if (rest.empty()) break;
    if (!rest.starts_with(',') || rest.size() == 1) fail("not a list of CPU numbers");
    rest.remove_prefix(1);
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

}  // namespace ktstr
