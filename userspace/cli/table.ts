/** Tables for people. */
import { display, fromText } from "../../src/formats/bytestring.ts";

/** Columns as wide as their widest cell, two spaces apart. What is not printable is escaped. */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const lines = [header, ...rows].map((row) => row.map((cell) => display(fromText(cell))));
  const widths = header.map((_, column) => Math.max(...lines.map((row) => row[column]!.length)));
  const line = (row: readonly string[]) =>
    row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ");
  return lines.map((row) => `${line(row).trimEnd()}\n`).join("");
}
