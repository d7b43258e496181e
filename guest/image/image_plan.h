// What goes into a base image, decided before any content is read.
#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "guest/image/initramfs.h"

namespace ktstr {

struct PlannedFile {
  std::string guestPath;
  std::string hostPath;
  Fd file;  // opened when it was planned, so that key and content are of the same file
  struct stat status;
};

struct PlannedLink {
  std::string guestPath;
  std::string target;
};

struct ImagePlan {
  std::vector<std::string> directories;  // parents first
  std::vector<PlannedFile> files;
  std::vector<PlannedLink> links;

  // Changes whenever a file may have changed: digest of paths, modes, device, inode, size, mtime and ctime.
  std::string statKey() const;
  // As imageKey().
  std::string contentKey() const;
  // The archive, uncompressed.
  std::vector<std::byte> archive() const;
};

// Throws as buildImageBase().
ImagePlan planImage(const ImageRequest& request);

ImageBase buildImageBase(const ImagePlan& plan);

}  // namespace ktstr
