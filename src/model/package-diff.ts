/** What became of packages. */

/** Versions by name. One that is there several times (as kernels are) has several. */
export type Packages = ReadonlyMap<string, readonly string[]>;

export interface PackageChange {
  readonly name: string;
  readonly before: readonly string[];
  readonly after: readonly string[];
}

/** Puts packages in order. */
export function packagesOf(
  list: readonly { readonly name: string; readonly version: string }[],
): Packages {
  const packages = new Map<string, string[]>();
  for (const { name, version } of list) {
    packages.set(name, [...(packages.get(name) ?? []), version].sort());
  }
  return packages;
}

/** Those that have other versions now, sorted by name. */
export function diffPackages(before: Packages, after: Packages): PackageChange[] {
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  return names.flatMap((name) => {
    const change = { name, before: before.get(name) ?? [], after: after.get(name) ?? [] };
    return change.before.join() === change.after.join() ? [] : [change];
  });
}
