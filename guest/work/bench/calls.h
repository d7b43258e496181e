// What work-bench-calls counts (counting.cc) and work-bench sets a cost to: numaPages[call] of a worker's
// page, for which nothing counts pages there.
#pragma once

namespace ktstr::work {

enum Call {
  iterationCall,
  countCall,
  checkpointCall,
  nowCall,  // a checkpoint(), less the reading of the clock, which the loop would need itself
  stepCall,
  lookCall,
  waitCall,  // its beginning and its end
  operationCall,
  eventCall,
  notifyCall,
  furtherNotifyCall,  // of those in one call all but the first
  notifyAtCall,
  calls
};

}  // namespace ktstr::work
