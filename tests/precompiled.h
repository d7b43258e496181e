// What most tests include: read once for all of them (Makefile). Each includes what it uses all the same.
#include <capnp/rpc-twoparty.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <kj/async-io.h>

#include "protocol/cache.capnp.h"
#include "protocol/dump.capnp.h"
#include "protocol/machine.capnp.h"
#include "protocol/record.capnp.h"
#include "protocol/report.capnp.h"
#include "protocol/sample.capnp.h"
#include "protocol/scenario.capnp.h"
#include "protocol/work_type.capnp.h"
