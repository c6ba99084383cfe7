import before_compression
from benchmarks import ui
from benchmarks.quiet import Quiet
ui.REPEATS, ui.TABS, ui.MOVES, ui.RUNS = 3, 2, 6, 2000
print(ui.run("lenet300","digits",Quiet(0,0,"now"),lambda s,x: print(s,flush=True)).markdown)
