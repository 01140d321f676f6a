"""DL/T 645-2007, what electricity meters in China speak: serial lines, transparent terminals."""
