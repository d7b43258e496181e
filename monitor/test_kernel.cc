#include "monitor/test_kernel.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>

#include "monitor/symbol_table.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr::test {
namespace {

template <typename T>
void append(std::vector<std::byte>& out, T value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

// Token numbers: printable characters stand for themselves, 0x80 and up for frequent strings.
const std::vector<std::string> longTokens = {"Dscx_", "D__", "sched", "kallsyms_", "filler_", "aaaaaaaa"};

std::vector<uint8_t> tokenise(const std::string& text) {
  std::vector<uint8_t> result;
  for (size_t at = 0; at < text.size();) {
    size_t token = 0;
    while (token < longTokens.size() && text.compare(at, longTokens[token].size(), longTokens[token]) != 0)
      ++token;
    const bool isLong = token < longTokens.size();
    result.push_back(isLong ? static_cast<uint8_t>(0x80 + token) : static_cast<uint8_t>(text[at]));
    at += isLong ? longTokens[token].size() : 1;
  }
  return result;
}

void encodeTokens(EncodedKallsyms& out) {
  for (unsigned i = 0; i < 256; ++i) {
    append(out.tokenIndex, static_cast<uint16_t>(out.tokenTable.size()));
    std::string token(1, static_cast<char>(i));
    if (i == 0) token = "";
    if (i >= 0x80) token = i - 0x80 < longTokens.size() ? longTokens[i - 0x80] : "";
    for (const char c : token) append(out.tokenTable, c);
    append(out.tokenTable, '\0');
  }
}

uint32_t encodeOffset(uint64_t address, KallsymsEncoding encoding, uint64_t place, uint64_t base) {
  switch (encoding) {
    case KallsymsEncoding::placeRelative:
      return static_cast<uint32_t>(address - place);
    case KallsymsEncoding::baseRelative:
      return static_cast<uint32_t>(address - base);
    case KallsymsEncoding::absolutePerCpu:
      return static_cast<uint32_t>(address < kernelMapBase ? address : base - 1 - address);
  }
  return 0;
}

}  // namespace

EncodedKallsyms encodeKallsyms(const std::vector<std::pair<std::string, uint64_t>>& symbols,
                               KallsymsEncoding encoding, uint64_t offsetsAddress, uint64_t relativeBase) {
  EncodedKallsyms out;
  out.count = static_cast<uint32_t>(symbols.size());
  encodeTokens(out);
  for (size_t i = 0; i < symbols.size(); ++i) {
    const auto compressed = tokenise("D" + symbols[i].first);
    if (compressed.size() > 0x7f) {
      append(out.names, static_cast<uint8_t>((compressed.size() & 0x7f) | 0x80));
      append(out.names, static_cast<uint8_t>(compressed.size() >> 7));
    } else {
      append(out.names, static_cast<uint8_t>(compressed.size()));
    }
    for (const uint8_t token : compressed) append(out.names, token);
    append(out.offsets, encodeOffset(symbols[i].second, encoding, offsetsAddress + 4 * i, relativeBase));
  }
  return out;
}

TestKernel::TestKernel(KernelOptions options)
    : options_(std::move(options)),
      pageOffset_(options_.levels == 5 ? 0xff2f'0000'0000'0000 : 0xffff'9d00'0000'0000),
      fd_(makeMemfd("test-kernel", ramBytes)),
      mapping_(fd_.get(), 0, ramBytes, PROT_READ | PROT_WRITE) {
  placeSymbols();
  mapImage();
  writeVariables();
  writeKallsyms();
  if (options_.vmcoreinfo) writeVmcoreinfo();
}

Fd TestKernel::file(bool sealed) {
  if (sealed) fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
  return fd_.duplicate();
}

void TestKernel::putText(uint64_t gpa, std::string_view text) {
  std::memcpy(mapping_.data() + gpa, text.data(), text.size());
}

void TestKernel::placeSymbols() {
  const std::pair<const char*, uint64_t> variables[] = {{"_text", 0},
                                                        {"_stext", 0},
                                                        {"init_top_pgt", 0x1000},
                                                        {"linux_banner", 0x6000},
                                                        {"phys_base", 0x6800},
                                                        {"page_offset_base", 0x6808},
                                                        {"jiffies_64", 0x6810},
                                                        {"scx_enable_state_var", 0x6818},
                                                        {"scx_root", 0x6820},
                                                        {"nr_cpu_ids", 0x6828},
                                                        {"__cpu_possible_mask", 0x9'0000},
                                                        {"vmcoreinfo_data", 0x6c00},
                                                        {"vmcoreinfo_size", 0x6c08},
                                                        {"__per_cpu_offset", 0x8'0000},
                                                        {"runqueues", 0x8000},
                                                        {"call_single_queue", 0x9800},
                                                        {"kallsyms_num_syms", 0x1'0000},
                                                        {"kallsyms_relative_base", 0x1'0008},
                                                        {"kallsyms_names", 0x2'0000},
                                                        {"kallsyms_token_table", 0x4'0000},
                                                        {"kallsyms_token_index", 0x5'0000},
                                                        {"kallsyms_offsets", 0x6'0000},
                                                        {"__start_BTF", 0x10'0000}};
  for (const auto& [name, offset] : variables) symbols_[name] = linkText_ + offset;
  for (const auto& [name, offset] : options_.moreSymbols) symbols_[name] = linkText_ + offset;
  if (options_.encoding == KallsymsEncoding::absolutePerCpu) symbols_["runqueues"] = 0x2'8000;
  if (options_.events == EventPlace::variable) symbols_["event_stats_cpu"] = linkText_ + 0x9000;
  if (!options_.btf) symbols_.erase("__start_BTF");
  for (unsigned i = 0; i < 500; ++i) symbols_[text("filler_", i)] = linkText_ + 0x20'0000 + i * 16;
  symbols_[std::string(300, 'b')] = linkText_ + 0x30'0000;
}

uint64_t TestKernel::symbolVa(const std::string& name) const {
  const uint64_t link = symbols_.at(name);
  return link >= kernelMapBase ? link + options_.slide : link;
}

uint64_t TestKernel::symbolGpa(const std::string& name) const {
  return symbols_.at(name) - linkText_ + options_.textGpa;
}

// Maps 16 MiB of image with 2 MiB pages; the tables follow init_top_pgt.
void TestKernel::mapImage() {
  uint64_t table = symbolGpa("init_top_pgt");
  const uint64_t va = symbolVa("_text");
  for (unsigned level = options_.levels; level > 2; --level) {
    put<uint64_t>(table + ((va >> (12 + 9 * (level - 1))) & 511) * 8, (table + 0x1000) | 0x63);
    table += 0x1000;
  }
  for (unsigned i = 0; i < 8; ++i) {
    put<uint64_t>(table + (((va >> 21) & 511) + i) % 512 * 8,
                  (options_.textGpa + (uint64_t{i} << 21)) | 0xe3);
  }
}

std::string TestKernel::banner() const {
  return text("Linux version ", options_.release, " (test@test) (gcc) #1 SMP\n");
}

void TestKernel::writeVariables() {
  putText(symbolGpa("linux_banner"), banner());
  put<uint64_t>(symbolGpa("phys_base"), physBase());
  put<uint64_t>(symbolGpa("page_offset_base"), pageOffset_);
  put<uint64_t>(symbolGpa("jiffies_64"), 4294937296);
  put<uint32_t>(symbolGpa("scx_enable_state_var"), 3);
  put<uint32_t>(symbolGpa("nr_cpu_ids"), options_.cpus);
  put<uint64_t>(symbolGpa("__cpu_possible_mask"), ~uint64_t{0});
  for (uint32_t cpu = 0; cpu < options_.cpus; ++cpu) {
    put<uint64_t>(symbolGpa("__per_cpu_offset") + 8 * cpu, direct(rqGpa(cpu)) - symbolVa("runqueues"));
    put<uint32_t>(rqGpa(cpu) + offsets::rqCpu, cpu);
    run(cpu, cpu, 0, text("swapper/", cpu), 0, 1000 + cpu);
  }
}

void TestKernel::run(uint32_t cpu, uint32_t number, int32_t pid, std::string_view comm, uint32_t nrRunning,
                     uint64_t clock) {
  put<int32_t>(taskGpa(number) + offsets::taskPid, pid);
  putText(taskGpa(number) + offsets::taskComm, std::string(comm) + '\0');
  put<uint64_t>(rqGpa(cpu) + offsets::rqCurr, direct(taskGpa(number)));
  put<uint32_t>(rqGpa(cpu) + offsets::rqNrRunning, nrRunning);
  put<uint64_t>(rqGpa(cpu) + offsets::rqClock, clock);
}

void TestKernel::attachScheduler(std::string_view name) {
  put<uint32_t>(symbolGpa("scx_enable_state_var"), 1);
  put<uint64_t>(symbolGpa("scx_root"), direct(schedulerGpa()));
  putText(schedulerGpa() + offsets::scxSchedOps + offsets::opsName, name);
  const uint64_t inPart = options_.events == EventPlace::perCpuPart ? offsets::perCpuEvents : 0;
  put<uint64_t>(schedulerGpa() + offsets::scxSchedPerCpu, symbolVa("runqueues") + 0x1000 - inPart);
}

void TestKernel::writeKallsyms() {
  if (options_.btf) {
    const auto btf = makeBtf(true, options_.events, options_.firstTypes);
    symbols_["__stop_BTF"] = symbols_["__start_BTF"] + btf.size();
    std::copy(btf.begin(), btf.end(), bytes().begin() + static_cast<ptrdiff_t>(symbolGpa("__start_BTF")));
  }
  std::vector<std::pair<std::string, uint64_t>> sorted;
  for (const auto& [name, link] : symbols_) sorted.emplace_back(name, symbolVa(name));
  std::stable_sort(sorted.begin(), sorted.end(), [](auto& a, auto& b) { return a.second < b.second; });
  const auto encoded =
      encodeKallsyms(sorted, options_.encoding, symbolVa("kallsyms_offsets"), symbolVa("_text"));
  const auto place = [&](const char* name, const std::vector<std::byte>& part) {
    std::copy(part.begin(), part.end(), bytes().begin() + static_cast<ptrdiff_t>(symbolGpa(name)));
  };
  put<uint32_t>(symbolGpa("kallsyms_num_syms"), encoded.count);
  put<uint64_t>(symbolGpa("kallsyms_relative_base"), symbolVa("_text"));
  place("kallsyms_names", encoded.names);
  place("kallsyms_token_table", encoded.tokenTable);
  place("kallsyms_token_index", encoded.tokenIndex);
  place("kallsyms_offsets", encoded.offsets);
}

void TestKernel::writeVmcoreinfo() {
  std::string info =
      text("OSRELEASE=", options_.release, "\nBUILD-ID=", options_.buildId, "\nPAGESIZE=4096\n");
  const auto symbol = [&](const std::string& label, const std::string& name) {
    info += text("SYMBOL(", label, ")=", std::hex, symbolVa(name), "\n");
  };
  symbol("swapper_pg_dir", "init_top_pgt");
  symbol("_stext", "_stext");
  for (const auto* name : {"names", "num_syms", "token_table", "token_index", "offsets"}) {
    symbol(text("kallsyms_", name), text("kallsyms_", name));
  }
  if (options_.encoding != KallsymsEncoding::placeRelative)
    symbol("kallsyms_relative_base", "kallsyms_relative_base");
  info += text("NUMBER(phys_base)=", static_cast<int64_t>(physBase()), "\n");
  info += text("NUMBER(pgtable_l5_enabled)=", options_.levels == 5 ? 1 : 0, "\n");
  info += text("KERNELOFFSET=", std::hex, options_.slide, "\nNUMBER(KERNEL_IMAGE_SIZE)=1073741824\n");
  putText(vmcoreinfoGpa, info);
  put<uint64_t>(symbolGpa("vmcoreinfo_data"), direct(vmcoreinfoGpa));
  put<uint64_t>(symbolGpa("vmcoreinfo_size"), info.size());
}

}  // namespace ktstr::test
