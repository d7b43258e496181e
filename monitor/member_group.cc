#include "monitor/member_group.h"

#include <string_view>

#include "protocol/text.h"

namespace ktstr {

std::vector<const std::byte*> MemberGroup::locate(const GuestKernel& kernel, uint64_t address) const {
  std::vector<const std::byte*> places;
  for (const auto& field : fields) {
    const auto* const at = kernel.at(address + field.offset, field.size);
    if (!at) return {};
    places.push_back(at);
  }
  return places;
}

MemberGroup findGroup(const KernelLayout& layout, const char* what,
                      std::initializer_list<const char*> members) {
  MemberGroup group;
  std::string missing;  // why the last member is not there
  for (std::string_view name : members) {
    const bool instead = name.starts_with('|');
    if (instead == missing.empty()) {
      if (instead) continue;
      break;
    }
    name.remove_prefix(instead ? 1 : 0);
    const auto field = layout.member(name);
    if (field && (field->size == 4 || field->size == 8)) {
      group.fields.push_back(*field);
      missing.clear();
    } else if (!instead) {
      missing = field ? text(name, ": is ", field->size, " bytes long") : layout.whyAbsent(name);
    }
  }
  if (missing.empty()) return group;
  return {{}, text(what, ": ", missing)};
}

}  // namespace ktstr
