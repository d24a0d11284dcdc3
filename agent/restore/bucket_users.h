// Users who have another name where a bucket is restored to: in policies and ACLs. Pure.
//
// A user of radosgw is "name" or "tenant$name". A policy calls it "arn:aws:iam::tenant:user/name",
// an ACL by the ID as it is.
#pragma once

#include <map>
#include <string>

namespace tidemark {

// From the name at the point's site to that of the target.
using UserNames = std::map<std::string, std::string>;

// The policy with the principals of these users renamed; everything else of it stays in its place.
// One that is no JSON, or names none of them, is returned as it is, byte for byte.
std::string rename_principals(std::string policy, const UserNames& users);

// An ACL document (AccessControlPolicy) with these users renamed, as owner and as grantees.
std::string rename_owners(std::string acl, const UserNames& users);

}  // namespace tidemark
