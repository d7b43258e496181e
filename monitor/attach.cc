#include "monitor/attach.h"

#include "monitor/kallsyms.h"
#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint64_t maxNamesBytes = uint64_t{32} << 20, maxTokenBytes = 1 << 16,
                   maxBtfBytes = uint64_t{64} << 20;
constexpr size_t maxBannerBytes = 1024;

// Adds the time of its life, in microseconds, to a counter.
class Stopwatch {
 public:
  explicit Stopwatch(uint32_t& micros) : micros_(micros) {}
  ~Stopwatch() { micros_ += static_cast<uint32_t>((monotonicNs() - begin_) / 1000); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  uint32_t& micros_;
  uint64_t begin_ = monotonicNs();
};

KallsymsSource kallsymsSource(const GuestMem& memory, const Vmcoreinfo& info, const KernelPlace& place) {
  const auto view = [&](uint64_t va, uint64_t limit) {
    const auto gpa = place.imageGpa(va);
    return gpa ? memory.bytesUpTo(*gpa, limit) : std::span<const std::byte>();
  };
  const auto word = [&]<typename T>(uint64_t va, T) {
    const auto gpa = place.imageGpa(va);
    return gpa ? memory.read<T>(*gpa) : std::nullopt;
  };
  KallsymsSource source;
  source.count = word(info.kallsymsCount, uint32_t{}).value_or(0);
  source.names = view(info.kallsymsNames, maxNamesBytes);
  source.tokenTable = view(info.kallsymsTokenTable, maxTokenBytes);
  source.tokenIndex = view(info.kallsymsTokenIndex, 512);
  source.offsets = view(info.kallsymsOffsets, uint64_t{4} * maxKernelSymbols);
  source.offsetsAddress = info.kallsymsOffsets;
  if (info.kallsymsRelativeBase)
    source.relativeBase = word(*info.kallsymsRelativeBase, uint64_t{}).value_or(0);
  source.stext = info.stext;
  source.slide = info.slide;
  return source;
}

std::span<const std::byte> btfBytes(const GuestKernel& kernel) {
  const auto begin = kernel.symbol("__start_BTF"), end = kernel.symbol("__stop_BTF");
  const uint64_t size = begin && end && *end > *begin ? *end - *begin : 0;
  const std::byte* const view = size <= maxBtfBytes && size > 0 ? kernel.at(*begin, size) : nullptr;
  if (!view) {
    throw Error(ExitCode::inconclusive, "btf-missing", "the kernel has no BTF",
                "use a kernel built with CONFIG_DEBUG_INFO_BTF=y");
  }
  return {view, size};
}

}  // namespace

Analysis analyse(const RamFile& ram, const Vmcoreinfo& info, const KernelPlace& place, Attachment& timings) {
  SymbolStorage storage;
  {
    const Stopwatch watch(timings.symbolsMicros);
    storage = decodeKallsyms(kallsymsSource(ram.memory(), info, place));
    ram.releasePages();
  }
  const Stopwatch watch(timings.btfMicros);
  const SymbolTable symbols(storage.arrays());
  const GuestKernel kernel(ram.memory(), symbols, place);
  const auto bannerAt = kernel.symbol("linux_banner");
  const auto banner = bannerAt ? kernel.string(*bannerAt, maxBannerBytes) : std::nullopt;
  if (!banner || !banner->starts_with(text("Linux version ", info.release, " "))) {
    throw Error(ExitCode::inconclusive, "banner-mismatch", "linux_banner does not name VMCOREINFO's release",
                "the guest's memory is inconsistent");
  }
  const auto bytes = btfBytes(kernel);
  Analysis::Facts facts{info.buildId, info.release, *banner, bytes.size(),
                        KernelLayout::fromBtf(BtfTypes(bytes))};
  ram.releasePages();
  return Analysis(std::move(storage), std::move(facts));
}

BtfTypes readKernelTypes(const GuestKernel& kernel) {
  return BtfTypes(btfBytes(kernel));
}

bool schedulerIsUp(const GuestKernel& kernel, const KernelLayout& layout) {
  const auto curr = layout.member("rq.curr"), cpuField = layout.member("rq.cpu");
  const auto runqueues = kernel.symbol("runqueues");
  const auto cpus = kernel.possibleCpus();
  if (!curr || !cpuField || !runqueues || cpus.empty()) return false;
  const auto rq = kernel.perCpu(*runqueues, cpus.front());
  if (!rq) return false;
  return kernel.read<uint64_t>(*rq + curr->offset).value_or(0) != 0 &&
         kernel.read<uint32_t>(*rq + cpuField->offset) == cpus.front();
}

Attacher::Attacher(const RamFile& ram, std::optional<Analysis> known, AnalysisLookup lookup)
    : ram_(ram),
      analysis_(known ? std::make_unique<Analysis>(std::move(*known)) : nullptr),
      lookup_(std::move(lookup)) {}

std::optional<Attachment> Attacher::attempt() {
  timings_ = {};
  const uint64_t begin = monotonicNs();
  try {
    auto attachment = attachKnown();
    if (!attachment) attachment = attachFound();
    if (attachment) attachment->totalMicros = static_cast<uint32_t>((monotonicNs() - begin) / 1000);
    return attachment;
  } catch (const Error& error) {
    reason_ = text(error.name(), ": ", error.message());
    return std::nullopt;
  }
}

std::optional<Attachment> Attacher::attachKnown() {
  if (!analysis_) return std::nullopt;
  FoundKernel found;
  {
    const Stopwatch watch(timings_.findMicros);
    found = findByBanner(ram_, *analysis_);
  }
  reason_ = found.problem;
  return found.place ? finish(*found.place) : std::nullopt;
}

std::optional<Attachment> Attacher::attachFound() {
  FoundKernel found;
  {
    const Stopwatch watch(timings_.findMicros);
    found = findByVmcoreinfo(ram_);
  }
  if (!found.place) {
    if (!analysis_) reason_ = found.problem;
    return std::nullopt;
  }
  if (!haveAnalysisOf(found.info->buildId)) {
    analysis_ = std::make_unique<Analysis>(analyse(ram_, *found.info, *found.place, timings_));
    made_ = true;
  }
  return finish(*found.place);
}

bool Attacher::haveAnalysisOf(const std::string& buildId) {
  if (buildId.empty()) return false;
  if (analysis_ && analysis_->facts().buildId == buildId) return true;
  if (!lookup_ || asked_ == buildId) return false;
  const Stopwatch watch(timings_.symbolsMicros);
  asked_ = buildId;
  auto stored = lookup_(buildId);
  if (!stored || stored->facts().buildId != buildId) return false;
  analysis_ = std::make_unique<Analysis>(std::move(*stored));
  return true;
}

std::optional<Attachment> Attacher::finish(const KernelPlace& place) {
  const auto& layout = analysis_->layout();
  auto kernel = std::make_unique<GuestKernel>(ram_.memory(), analysis_->symbols(), place);
  if (!layout.member("rq.curr") || !layout.member("rq.cpu")) {
    reason_ = text("kernel ", analysis_->facts().release, ": its BTF has no usable struct rq");
    return std::nullopt;
  }
  if (!schedulerIsUp(*kernel, layout)) {
    reason_ = text("kernel ", analysis_->facts().release, " is there, its scheduler is not up yet");
    return std::nullopt;
  }
  Attachment attachment = std::move(timings_);
  attachment.cached = !made_;
  attachment.analysis = std::move(analysis_);
  attachment.kernel = std::move(kernel);
  return attachment;
}

}  // namespace ktstr
