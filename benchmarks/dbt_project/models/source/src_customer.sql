select *, {{ loaded_at() }} as loaded_at
from read_csv(
  '{{ env_var("BENCH_INPUTS") }}/Customer.csv',
  columns = {'customer_id': 'varchar', 'customer_name': 'varchar', 'has_loan': 'varchar'},
  auto_detect = false, header = true, delim = ',', quote = '"', escape = '"', ignore_errors = true,
  force_not_null = ['customer_id', 'customer_name', 'has_loan']
)
