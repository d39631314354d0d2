"""What a board is shown as. Every module here takes a board (a comparison, a report); none of those knows these.

sentences: the finding in words. tables: terminal and Markdown. data: JSON and CSV. page, charts: HTML. comparison: two
models item by item. judgements: what judges said, and perplexities. published: figures of papers. wording: the one way
to print a rate, an interval, a difference, a p value. escaping: text from outside, made fit for each of these.
"""
