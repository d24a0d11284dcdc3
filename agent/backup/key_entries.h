// The entries of one key of a bucket: which of the point before are still right, and what a tree
// has to change for the new ones.
#pragma once

#include <vector>

#include "store/bucket.h"
#include "store/tree.h"

namespace tidemark {

// The old entry that is the same version as a listed one, whatever its place became: another
// version with the same time pushes it back, and the first versioning gives it the id "null". Null
// where there is none.
const ObjectEntry* find_same(const std::vector<ObjectEntry>& old, const ObjectEntry& listed);

// `entry`, at the place where the server lists it now.
ObjectEntry moved_to(ObjectEntry entry, const ObjectEntry& listed);

// Of a listed version that could not be read: adds to `now` what the point before has under its
// id, which is an older state of an object that was overwritten; nothing where it has none.
void keep_older(const std::vector<ObjectEntry>& old, const ObjectEntry& listed,
                std::vector<ObjectEntry>& now);

// Makes the newest entry the current one where none is: the current version is among those that
// could not be read, and a restore shall find what there is.
void choose_latest(std::vector<ObjectEntry>& now);

// What turns the old entries of a key into the new ones.
std::vector<TreeChange> changes_of(const std::vector<ObjectEntry>& old,
                                   const std::vector<ObjectEntry>& now);

}  // namespace tidemark
