#include "guest/agent/settings.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <sstream>
#include <string>

#include "guest/agent/failure.h"
#include "protocol/fd.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

[[noreturn]] void refuse(const std::string& why) {
  throw Failure(FailureName::SETTING_REFUSED, why);
}

void writeAt(rpc::FileWrite::Reader setting, int flags) {
  const std::string path = setting.getPath().cStr();
  const auto content = setting.getContent();
  const Fd file(open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0644));
  if (!file) refuse(withErrno("open " + path, errno));
  // One write: that is what the kernel's own files take.
  const ssize_t written = write(file.get(), content.begin(), content.size());
  if (written < 0) refuse(withErrno(text("write \"", content.cStr(), "\" to ", path), errno));
  if (static_cast<size_t>(written) != content.size()) {
    refuse(text(path, " took ", written, " of ", content.size(), " bytes"));
  }
}

// The kernel separates the numbers of a sysctl by tabs.
std::string words(const std::string& value) {
  std::istringstream from(value);
  std::string all;
  for (std::string word; from >> word;) all += (all.empty() ? "" : " ") + word;
  return all;
}

void setSysctl(rpc::FileWrite::Reader setting) {
  writeAt(setting, 0);
  const std::string path = setting.getPath().cStr(), wanted = words(setting.getContent().cStr());
  const std::string got = words(readFileIfThere(path).value_or("?"));
  if (got != wanted) refuse(text(path, ": \"", wanted, "\" reads back as \"", got, '"'));
}

void makeFile(rpc::FileWrite::Reader setting) {
  const std::filesystem::path path = setting.getPath().cStr();
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) refuse(withErrno("make " + path.parent_path().string(), error.value()));
  writeAt(setting, O_CREAT | O_TRUNC);
}

}  // namespace

void applySettings(rpc::GuestOrders::Reader orders) {
  for (const auto setting : orders.getSysctls()) setSysctl(setting);
  for (const auto setting : orders.getFiles()) makeFile(setting);
  for (const auto setting : orders.getEnable()) writeAt(setting, 0);
}

void undoSettings(rpc::GuestOrders::Reader orders) {
  for (const auto setting : orders.getDisable()) writeAt(setting, 0);
}

}  // namespace ktstr::agent
